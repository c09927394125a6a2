import { mkdirSync } from "node:fs";
import { join } from "node:path";

import type { Page } from "@playwright/test";

import { at, logIn, test } from "./system";

/** Where the pictures of the documentation are. `npm run screenshots` makes them anew. */
const folder = process.env["SCREENSHOTS_DIR"] ?? join(import.meta.dirname, "../../../docs/console");

async function picture(page: Page, name: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await page.waitForLoadState("networkidle");
  await page.screenshot({ path: join(folder, `${name}.png`), animations: "disabled" });
}

const AS_OF = "as_of=2025-06-30";

test("pages of human resources", async ({ page }) => {
  await page.goto(`${at("demo")}/`);
  await picture(page, "log-in");
  await logIn(page, "demo", "hr@northwind.example");
  await page.goto(`${at("demo")}/people?${AS_OF}`);
  await picture(page, "people");
  await page.getByRole("row").nth(4).getByRole("link").first().click();
  await page.getByRole("heading", { name: "Timeline" }).waitFor();
  await picture(page, "person");
  await page.getByRole("link", { name: "Change pay" }).click();
  await page.getByLabel("Amount").waitFor();
  await picture(page, "change-pay");
  for (const name of ["chart", "departments", "jobs", "locations"]) {
    await page.goto(`${at("demo")}/organization/${name}?${AS_OF}`);
    await picture(page, `organization-${name}`);
  }
  await page.goto(`${at("demo")}/reports?${AS_OF}`);
  await picture(page, "reports-department");
  await page.goto(`${at("demo")}/reports?${AS_OF}&by=month&months=24`);
  await picture(page, "reports-month");
  await page.goto(`${at("demo")}/people/hire?${AS_OF}`);
  await page.getByLabel("Given name").waitFor();
  await picture(page, "hire");
});

test("pages of the administration", async ({ page }) => {
  await logIn(page, "demo", "owner@northwind.example");
  for (const name of ["users", "roles", "delegations", "service-accounts", "audit"]) {
    await page.goto(`${at("demo")}/administration/${name}`);
    await picture(page, `administration-${name}`);
  }
  await page.goto(`${at("demo")}/account`);
  await picture(page, "account");
});

test("pages of operators", async ({ page }) => {
  await logIn(page, "platform", "operator@tenure.example");
  await page.goto(`${at("platform")}/operator`);
  await picture(page, "operator");
});

test("in the dark, in German, on a telephone", async ({ page }) => {
  await page.emulateMedia({ colorScheme: "dark" });
  await logIn(page, "demo", "hr@northwind.example");
  await page.evaluate(() => localStorage.setItem("tenure-language", "de"));
  await page.goto(`${at("demo")}/people?${AS_OF}`);
  await picture(page, "people-dark-german");
  await page.setViewportSize({ width: 390, height: 844 });
  await picture(page, "people-telephone");
  await page.getByRole("row").nth(4).getByRole("link").first().click();
  await page.getByRole("heading", { name: "Zeitleiste" }).waitFor();
  await picture(page, "person-telephone");
});
