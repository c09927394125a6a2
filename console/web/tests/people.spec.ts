import { accessible, at, expect, logIn, test } from "./system";

test.beforeEach(async ({ page }) => {
  await logIn(page, "demo", "hr@northwind.example");
});

test("search narrows the list as one types, and names no one in the address", async ({ page }) => {
  await page.goto(`${at("demo")}/people?as_of=2025-06-30`);
  const rows = page.locator("tbody tr");
  await expect(rows.first()).toBeVisible();
  const all = await rows.count();
  await page.keyboard.press("/");
  await page.keyboard.type("becker");
  await expect(async () => {
    const names = await rows.locator("th").allTextContents();
    expect(names.length).toBeGreaterThan(0);
    expect(names.length).toBeLessThan(all);
    for (const name of names) expect(name.toLowerCase()).toContain("becker");
  }).toPass();
  expect(page.url()).not.toContain("becker");
  await accessible(page);
  await rows.first().getByRole("link").first().click();
  await expect(page.getByRole("heading", { name: "Timeline" })).toBeVisible();
  expect(await page.title()).toBe("Person · Tenure");
  await accessible(page);
  await page.goBack();
  await expect(page.getByRole("searchbox"), "back is where one was").toHaveValue("becker");
  await page.getByRole("button", { name: "Clear filters" }).click();
  await expect(rows).toHaveCount(all);
});

test("facets stand in the address, and the day with them", async ({ page }) => {
  await page.goto(`${at("demo")}/people?as_of=2025-06-30`);
  await page.getByLabel("Location").selectOption({ label: "Lisbon" });
  await expect(page).toHaveURL(/location=[0-9a-f-]{36}/);
  await expect(page.locator("tbody tr td:nth-child(5)").first()).toHaveText("Lisbon");
  for (const place of await page.locator("tbody tr td:nth-child(5)").allTextContents()) expect(place).toBe("Lisbon");
  await page.getByLabel("Status").selectOption("terminated");
  await expect(page.locator("tbody tr").first()).toContainText("Left");
  await page.reload();
  await expect(page.getByLabel("Status")).toHaveValue("terminated");
  await page.getByRole("link", { name: "Reports" }).click();
  await expect(page, "the day goes along").toHaveURL(/as_of=2025-06-30/);
});

test("a person is shown as of any day, whatever the browser's time zone", async ({ page }) => {
  await page.goto(`${at("demo")}/people?as_of=2025-06-30`);
  await page.getByRole("searchbox").fill("N0101");
  await expect(page.locator("tbody tr")).toHaveCount(1);
  await page.locator("tbody tr").getByRole("link").first().click();
  const work = page.getByRole("region", { name: "Work" });
  const job = work.getByRole("definition").nth(1);
  await expect(job).toHaveText("Team Lead");
  await page.getByRole("button", { name: "Jul 8, 2019" }).click();
  await expect(page).toHaveURL(/as_of=2019-07-08/);
  await expect(job).toHaveText("Senior Specialist");
  await page.getByRole("button", { name: "One day earlier" }).click();
  await expect(page).toHaveURL(/as_of=2019-07-07/);
  await expect(page.getByRole("heading", { level: 1 })).toContainText("Not yet here");
});

test("nothing that people enter is anything but text", async ({ page }) => {
  const evil = '"><img src=x onerror=document.title=1><script>alert(1)</script>';
  const code = `x-${Date.now()}`;
  await page.goto(`${at("demo")}/organization/jobs/new`);
  await page.getByRole("textbox", { name: "Title" }).fill(evil);
  await page.getByLabel("Code").fill(code);
  await page.getByRole("dialog").getByRole("button", { name: "New job" }).click();
  await expect(page.getByRole("row").filter({ hasText: code })).toContainText(evil);
  await expect(page.locator("img[src=x]")).toHaveCount(0);
  await page.goto(`${at("demo")}/people`);
  await expect(page.getByLabel("Job")).toContainText(evil);
});
