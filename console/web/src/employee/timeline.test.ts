import { expect, it } from "vitest";

import type { History } from "./data";
import { daysOf, momentsOf } from "./timeline";

const department = { id: "d", code: "lab", name: "Laboratory" };
const job = { id: "j", code: "eng", name: "Engineer" };
const span = { valid_to: null, superseded: false, employment_id: "e" };

const history: History = {
  employee_id: "p",
  employee_number: "1",
  position: 9,
  version: 4,
  employments: [{ employment_id: "e", starts_on: "2020-02-01", ends_on: "2024-01-01", termination_reason: "resignation" }],
  assignments: [
    { ...span, valid_from: "2020-02-01", seq: 0, sets: ["department_id", "job_id", "location_id", "manager_id"], department, job },
    { ...span, valid_from: "2021-04-01", seq: 0, superseded: true, sets: ["job_id"], department, job, reason: "promotion" },
    { ...span, valid_from: "2021-04-01", seq: 1, sets: ["job_id"], department, job: { ...job, name: "Staff Engineer" } },
  ],
  compensations: [{ ...span, valid_from: "2021-04-01", seq: 0, rate: "52000", currency: "EUR", per: "year", annual: "52000", reason: "annual_review" }],
  personal: [{ ...span, valid_from: "2020-02-01", seq: 0, sets: ["given_name"], given_name: "Ada" }],
  contact: [],
};

it("tells a career from its end to its beginning, what came last on a day first", () => {
  const moments = momentsOf(history, (rate, currency) => `${rate} ${currency}`);
  expect(moments.map((moment) => `${moment.day} ${moment.kind}${moment.superseded ? " superseded" : ""}`)).toEqual([
    "2024-01-01 ended",
    "2021-04-01 assignment",
    "2021-04-01 assignment superseded",
    "2021-04-01 pay",
    "2020-02-01 assignment",
    "2020-02-01 person",
    "2020-02-01 started",
  ]);
  expect(moments[0]?.reason).toBe("resignation");
  expect(moments[1]?.facts).toEqual([{ name: "job", value: "Staff Engineer" }]);
  expect(moments[3]?.facts).toEqual([{ name: "pay.year", value: "52000 EUR" }]);
  // A field that was set to nothing is said, not passed over.
  expect(moments[4]?.facts.at(-1)).toEqual({ name: "manager", value: null });
  expect(daysOf(moments)).toEqual(["2020-02-01", "2021-04-01", "2024-01-01"]);
});
