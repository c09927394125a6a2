/** Dark, light, or as the system has it. */
export type Theme = "system" | "light" | "dark";

const KEY = "tenure-theme";

export function theme(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
}

export function applyTheme(chosen?: Theme): void {
  if (chosen) localStorage.setItem(KEY, chosen);
  const now = theme();
  if (now === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = now;
}
