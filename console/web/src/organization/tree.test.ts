import { expect, it } from "vitest";

import { inTreeOrder } from "./tree";

const department = (department_id: string, parent_id: string | null = null) => ({ department_id, parent_id });
const shape = (all: ReturnType<typeof department>[]) => inTreeOrder(all).map(([one, depth]) => `${"  ".repeat(depth)}${one.department_id}`);

it("puts what is below a department right after it", () => {
  expect(shape([department("b"), department("a2", "a"), department("a"), department("a1", "a"), department("a21", "a2")])).toEqual([
    "b",
    "a",
    "  a2",
    "    a21",
    "  a1",
  ]);
});

it("leaves nobody out whose parent is not there, or who goes in a circle", () => {
  expect(shape([department("a", "gone"), department("x", "y"), department("y", "x")]).map((line) => line.trim()).sort()).toEqual(["a", "x", "y"]);
});
