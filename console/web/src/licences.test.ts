import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, it } from "vitest";

/** What may become part of what a browser loads; as `deny.toml` has it for the programs. */
const ALLOWED = new Set(["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"]);

type Lock = { packages: Record<string, { license?: string; dev?: boolean; devOptional?: boolean; integrity?: string }> };

const lock = JSON.parse(readFileSync(join(import.meta.dirname, "../package-lock.json"), "utf8")) as Lock;
const packages = Object.entries(lock.packages).filter(([path]) => path !== "");

it("ships nothing whose licence is not allowed", () => {
  const others = packages.filter(([, one]) => !one.dev && !one.devOptional && !ALLOWED.has(one.license ?? ""));
  expect(others.map(([path, one]) => `${path}: ${one.license}`)).toEqual([]);
});

it("pins every package by its digest, from whatever registry it comes", () => {
  const loose = packages.filter(([, one]) => !one.integrity?.startsWith("sha512-"));
  expect(loose.map(([path]) => path)).toEqual([]);
});
