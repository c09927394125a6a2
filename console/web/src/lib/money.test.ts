import { expect, it } from "vitest";

import { decimalOf, formatMoney } from "./money";

it.each([
  ["52000", "52000"],
  ["52000.5", "52000.5"],
  ["52000,50", "52000.50"],
  ["1,234.50", "1234.50"],
  ["1.234,50", "1234.50"],
  ["1 234 567", "1234567"],
  ["1'234'567.89", "1234567.89"],
  ["1,234,567", "1234567"],
  ["1.234", null],
  ["12,34.5", null],
  ["1,2,3", null],
  ["abc", null],
  ["-5", null],
  ["", null],
  [".5", null],
])("takes %s for %s", (typed, expected) => {
  expect(decimalOf(typed)).toBe(expected);
});

it("lays out exactly what it is given", () => {
  expect(formatMoney("123456789012345.67", "EUR", "en")).toBe("€123,456,789,012,345.67");
  expect(formatMoney("52000", "EUR", "de").replace(/\s/g, " ")).toBe("52.000 €");
  expect(formatMoney("12.5", "XYZ1", "en")).toBe("12.5 XYZ1");
});
