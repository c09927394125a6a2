/**
 * Civil days as `YYYY-MM-DD`, as Tenure writes them. They never become an instant in anybody's time zone: what is computed here
 * is computed in UTC from beginning to end.
 */
export type Day = string;

const SHAPE = /^(\d{4})-(\d{2})-(\d{2})$/;

/** Milliseconds of the day's beginning in UTC; null for what is no day of the calendar. */
function utc(day: Day): number | null {
  const match = SHAPE.exec(day);
  if (!match) return null;
  const [year, month, date] = [Number(match[1]), Number(match[2]), Number(match[3])];
  // Years below 100 would be taken for those of the twentieth century.
  const at = new Date(0);
  at.setUTCFullYear(year, month - 1, date);
  const same = at.getUTCFullYear() === year && at.getUTCMonth() === month - 1 && at.getUTCDate() === date;
  return same && year >= 1 ? at.getTime() : null;
}

export function isDay(text: string | null | undefined): text is Day {
  return typeof text === "string" && utc(text) !== null;
}

/** The day so many days later. */
export function plus(day: Day, days: number): Day {
  const at = utc(day);
  if (at === null) return day;
  const moved = new Date(at + days * 86_400_000);
  const year = String(moved.getUTCFullYear()).padStart(4, "0");
  return `${year}-${String(moved.getUTCMonth() + 1).padStart(2, "0")}-${String(moved.getUTCDate()).padStart(2, "0")}`;
}

/** The same day so many months earlier or later, or the last one of a shorter month. */
export function plusMonths(day: Day, months: number): Day {
  const match = SHAPE.exec(day);
  if (!match) return day;
  const all = Number(match[1]) * 12 + Number(match[2]) - 1 + months;
  const month = `${String(Math.floor(all / 12)).padStart(4, "0")}-${String((all % 12) + 1).padStart(2, "0")}`;
  for (let date = Number(match[3]); date > 27; date--) {
    const candidate = `${month}-${String(date).padStart(2, "0")}`;
    if (isDay(candidate)) return candidate;
  }
  return `${month}-${match[3]}`;
}

/** `2026-03-01` as people of this language write it. */
export function formatDay(day: Day | null | undefined, language: string): string {
  const at = day ? utc(day) : null;
  if (at === null) return day ?? "";
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: "UTC" }).format(at);
}

/** `2026-03` as people of this language write it. */
export function formatMonth(month: string, language: string): string {
  const at = utc(`${month}-01`);
  if (at === null) return month;
  return new Intl.DateTimeFormat(language, { month: "short", year: "numeric", timeZone: "UTC" }).format(at);
}

/** An instant, in the reader's own time zone. */
export function formatInstant(instant: string | null | undefined, language: string): string {
  const at = instant ? Date.parse(instant) : Number.NaN;
  if (Number.isNaN(at)) return instant ?? "";
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(at);
}
