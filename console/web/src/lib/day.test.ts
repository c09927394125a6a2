import { describe, expect, it } from "vitest";

import { formatDay, formatMonth, isDay, plus, plusMonths } from "./day";

/** Far to the west, far to the east, and one that skipped a day. */
const ZONES = ["America/Los_Angeles", "Pacific/Kiritimati", "Pacific/Auckland", "Pacific/Apia", "UTC"];

describe.each(ZONES)("civil days for somebody in %s", (zone) => {
  const inZone = <T>(run: () => T): T => {
    const before = process.env["TZ"];
    process.env["TZ"] = zone;
    try {
      expect(Intl.DateTimeFormat().resolvedOptions().timeZone).toBe(zone);
      return run();
    } finally {
      process.env["TZ"] = before;
    }
  };

  it.each([
    ["2026-01-01", "Jan 1, 2026", "01.01.2026"],
    ["2011-12-30", "Dec 30, 2011", "30.12.2011"],
    ["2024-02-29", "Feb 29, 2024", "29.02.2024"],
    ["0099-12-31", "Dec 31, 99", "31.12.99"],
  ])("%s stays that day", (day, english, german) => {
    inZone(() => {
      expect(formatDay(day, "en")).toBe(english);
      expect(formatDay(day, "de")).toBe(german.replace(/\.99$/, ".99"));
      expect(plus(plus(day, 1), -1)).toBe(day);
    });
  });

  it("counts over ends of months, leap years and changes of the clock", () => {
    inZone(() => {
      expect(plus("2024-02-28", 1)).toBe("2024-02-29");
      expect(plus("2023-12-31", 1)).toBe("2024-01-01");
      expect(plus("2026-03-29", 1)).toBe("2026-03-30");
      expect(plus("2026-10-25", -1)).toBe("2026-10-24");
      expect(plusMonths("2024-03-31", -1)).toBe("2024-02-29");
      expect(plusMonths("2024-11-30", 3)).toBe("2025-02-28");
      expect(formatMonth("2026-03", "en")).toBe("Mar 2026");
    });
  });
});

it("takes only days of the calendar", () => {
  for (const day of ["2024-02-29", "0001-01-01", "9999-12-31"]) expect(isDay(day)).toBe(true);
  for (const day of ["2023-02-29", "2024-13-01", "2024-1-1", "24-01-01", "0000-01-01", "", null, "2024-01-01T00:00:00Z"]) {
    expect(isDay(day)).toBe(false);
  }
});
