import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { BrowserContext, Page } from "@playwright/test";

import { accessible, at, expect, logIn, tenure, test } from "./system";

const SECRET = "a password that is long enough";
const EMAIL = "ada@example.com";

/** A tenant of its own, and somebody who took their invitation up in the browser. */
async function company(page: Page, name: string): Promise<string> {
  const slug = `${name}-${Date.now().toString(36)}`;
  tenure("tenant", "create", "--slug", slug, "--name", name);
  const { ticket } = tenure("user", "--tenant", slug, "invite", EMAIL, "--role", "owner");
  await page.goto(`${at(slug)}/activation#ticket=${ticket}`);
  await expect(page).not.toHaveURL(/ticket/);
  await accessible(page);
  await page.getByLabel("New password").fill("short");
  await page.getByRole("button", { name: "Save password" }).click();
  await expect(page.locator("main")).toContainText("oo easy to guess");
  await page.getByLabel("New password").fill(SECRET);
  await page.getByRole("button", { name: "Save password" }).click();
  await page.getByRole("link", { name: "Log in" }).click();
  await logIn(page, slug, EMAIL, SECRET);
  return slug;
}

const cookieOf = async (context: BrowserContext, slug: string) =>
  (await context.cookies(at(slug))).find((cookie) => cookie.name === "__Host-tenure-session")?.value ?? "";

test("two tenants in two tabs stay apart, and a session that strays to another's host ends and says why", async ({ page, context }) => {
  const mine = await company(page, "mine");
  const other = await context.newPage();
  const yours = await company(other, "yours");
  await page.goto(`${at(mine)}/organization/departments/new`);
  await page.getByLabel("Name").fill("Only mine");
  await page.getByLabel("Code").fill("only-mine");
  await page.getByRole("dialog").getByRole("button", { name: "New department" }).click();
  await expect(page.getByRole("row").filter({ hasText: "Only mine" })).toBeVisible();
  await other.goto(`${at(yours)}/organization/departments`);
  await expect(other.getByText("There are no departments on that day.")).toBeVisible();

  const strayed = { name: "__Host-tenure-session", value: await cookieOf(context, mine), url: at(yours), httpOnly: true, secure: true, sameSite: "Strict" as const };
  await context.addCookies([{ ...strayed, url: at(yours).replace("http:", "https:") }]);
  await other.goto(`${at(yours)}/people`);
  await expect(other.getByRole("alert")).toContainText("belongs to another organization");
  await expect(other.getByRole("heading", { name: "Log in" })).toBeVisible();
  await expect(other.getByText("Only mine")).toHaveCount(0);
  await page.getByRole("link", { name: "People" }).click();
  await expect(page.getByRole("heading", { name: "Log in" }), "it ended for its own host as well").toBeVisible();
});

test("a tenant that is not served says so, and is as it was when it is served again", async ({ page }) => {
  const slug = await company(page, "paused");
  tenure("tenant", "suspend", slug, "--reason", "test");
  await expect(async () => {
    await page.reload();
    await expect(page.getByRole("alert")).toContainText("Your organization is suspended", { timeout: 1000 });
  }).toPass();
  await accessible(page);
  tenure("tenant", "resume", slug);
  await expect(async () => {
    await page.getByRole("button", { name: "Try again" }).click({ timeout: 1000 });
    await expect(page.getByRole("heading", { name: "People" })).toBeVisible({ timeout: 1000 });
  }).toPass();
});

test("an operator ends a subscription, and the tenant's people are told", async ({ page, browser }) => {
  const slug = await company(page, "expired");
  const operators = await browser.newContext();
  const operator = await operators.newPage();
  await logIn(operator, "platform", "operator@tenure.example");
  await expect(operator.getByRole("heading", { name: "Tenants" })).toBeVisible();
  await accessible(operator);
  const row = operator.getByRole("row").filter({ hasText: slug });
  await row.getByRole("link", { name: /^Subscription/ }).click();
  await operator.getByLabel("Ends").fill("2020-01-01T00:00");
  await operator.getByRole("dialog").getByRole("button", { name: "Subscription" }).click();
  await expect(operator.getByRole("dialog")).toHaveCount(0);
  await operators.close();
  await expect(async () => {
    await page.reload();
    await expect(page.getByRole("alert")).toContainText("subscription has expired", { timeout: 1000 });
  }).toPass();
});

test("nobody learns whether a tenant exists", async ({ page }) => {
  await page.goto(`${at("no-such-tenant")}/`);
  await page.getByLabel("E-mail address").fill(EMAIL);
  await page.getByLabel("Password").fill(SECRET);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("alert")).toContainText("E-mail address or password are wrong");
});

test("without a network the page says so and goes on by itself", async ({ page, context }) => {
  await logIn(page, "demo", "hr@northwind.example");
  await expect(page.locator("tbody tr").first()).toBeVisible();
  await context.setOffline(true);
  await expect(page.getByText("No connection")).toBeVisible();
  await page.getByLabel("Status").selectOption("terminated");
  await context.setOffline(false);
  await expect(page.getByText("No connection")).toHaveCount(0);
  await expect(page.locator("tbody tr").first()).toContainText("Left");
});

test("a read waits for what was just written, however long the read model takes", async ({ page }) => {
  const slug = await company(page, "behind");
  const state = JSON.parse(readFileSync(join(process.env["TENURE_HOME"] ?? "", "run/state.json"), "utf8")) as {
    processes: Record<string, { identity: { pid: number } }>;
  };
  const projector = state.processes["tenure-projector"]?.identity.pid ?? 0;
  expect(projector).toBeGreaterThan(0);
  await page.goto(`${at(slug)}/organization/jobs`);
  await expect(page.getByText("There are no jobs")).toBeVisible();
  process.kill(projector, "SIGSTOP");
  try {
    await page.getByRole("link", { name: "New job" }).click();
    await page.getByLabel("Title").fill("Lamplighter");
    await page.getByLabel("Code").fill("lamp");
    await page.getByRole("dialog").getByRole("button", { name: "New job" }).click();
    await page.waitForResponse((response) => response.url().includes("/v1/jobs") && response.status() === 503);
  } finally {
    process.kill(projector, "SIGCONT");
  }
  await expect(page.getByRole("row").filter({ hasText: "Lamplighter" })).toBeVisible();
});
