import { execFileSync } from "node:child_process";

import AxeBuilder from "@axe-core/playwright";
import { test as base, expect, type Page } from "@playwright/test";

const set = (name: string): string => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; run \`make console-test\``);
  return value;
};

/** The console of the system under test, at a tenant's host. */
export const at = (slug: string): string => set("TENURE_CONSOLE").replace("127.0.0.1", `${slug}.localhost`);
export const password = (): string => set("TENURE_DEMO_PASSWORD");

/** What an operator does at the machine; what it printed. */
export function tenure(...args: string[]): Record<string, string> {
  const output = execFileSync(set("TENURE_BIN"), ["--home", set("TENURE_HOME"), "--json", ...args], { encoding: "utf8", timeout: 60_000 });
  return JSON.parse(output.trim().split("\n").at(-1) ?? "{}") as Record<string, string>;
}

/** Logs in by hand. */
export async function logIn(page: Page, slug: string, email: string, secret: string = password()): Promise<void> {
  await page.goto(`${at(slug)}/`);
  await page.getByLabel("E-mail address").fill(email);
  await page.getByLabel("Password").fill(secret);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("navigation").first()).toBeVisible();
}

const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** No violation of any rule that axe knows, or of these alone, on the page as it stands. */
export async function accessible(page: Page, rules: string[] = []): Promise<void> {
  const axe = new AxeBuilder({ page });
  const { violations } = await (rules.length > 0 ? axe.withRules(rules) : axe.withTags(RULES)).analyze();
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(" ")).join(", ")}`);
  expect(told).toEqual([]);
}

/** A test whose page says nothing on its console that a page of ours should not: refused scripts and styles, broken code. */
export const test = base.extend<{ quiet: undefined }>({
  quiet: [
    async ({ page }, use) => {
      const said: string[] = [];
      page.on("pageerror", (error) => said.push(String(error)));
      page.on("console", (message) => {
        const text = message.text();
        // A refusal is an answer like any other, which the browser logs by itself.
        if (message.type() === "error" && !text.startsWith("Failed to load resource")) said.push(text);
      });
      await use(undefined);
      expect(said).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };
