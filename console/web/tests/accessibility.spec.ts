import { accessible, at, expect, logIn, test } from "./system";

const OWNER = [
  "/people", "/people/hire", "/organization/chart", "/organization/departments", "/organization/departments/new", "/organization/jobs",
  "/organization/locations", "/organization/locations/new", "/reports", "/reports?by=month", "/administration/users",
  "/administration/users/invite", "/administration/roles", "/administration/delegations", "/administration/delegations/new",
  "/administration/service-accounts", "/administration/audit", "/account", "/account/password", "/account/totp", "/nowhere",
];

for (const colorScheme of ["light", "dark"] as const) {
  test(`no page has a violation that axe knows, ${colorScheme}`, async ({ page }) => {
    test.setTimeout(300_000);
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await logIn(page, "demo", "owner@northwind.example");
    for (const path of OWNER) {
      await test.step(path, async () => {
        await page.goto(`${at("demo")}${path}`);
        await expect(page.getByRole("heading").first()).toBeVisible();
        await page.waitForLoadState("networkidle");
        // In the dark only the colours are others.
        await accessible(page, colorScheme === "dark" ? ["color-contrast", "link-in-text-block"] : []);
      });
    }
  });
}

test("every page fits at twice the size and on a telephone", async ({ page }) => {
  test.setTimeout(300_000);
  await logIn(page, "demo", "owner@northwind.example");
  for (const viewport of [{ width: 640, height: 400 }, { width: 360, height: 740 }]) {
    await page.setViewportSize(viewport);
    for (const path of OWNER) {
      await test.step(`${path} at ${viewport.width}`, async () => {
        await page.goto(`${at("demo")}${path}`);
        await expect(page.getByRole("heading").first()).toBeVisible();
        await page.waitForLoadState("networkidle");
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        expect(overflow, "only tables scroll sideways").toBeLessThanOrEqual(0);
      });
    }
  }
});
