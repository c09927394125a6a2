import { expect, it } from "vitest";

import { de } from "./de";
import { en } from "./en";

const placeholders = (text: string) => [...text.matchAll(/\{\{(\w+)\}\}/g)].map((match) => match[1]).sort();

it("says the same in both languages", () => {
  for (const [key, text] of Object.entries(en)) {
    const german = (de as Record<string, string>)[key] ?? "";
    expect(german, key).not.toBe("");
    expect(placeholders(german), key).toEqual(placeholders(text));
  }
});
