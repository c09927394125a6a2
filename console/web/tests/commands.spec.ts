import { accessible, at, expect, logIn, test } from "./system";

test.beforeEach(async ({ page }) => {
  await logIn(page, "demo", "hr@northwind.example");
});

test("pay is changed by keyboard alone, and seen at once", async ({ page }) => {
  await page.goto(`${at("demo")}/people`);
  await page.locator("tbody tr").nth(7).getByRole("link").first().focus();
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "Change pay" }).focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Change pay" });
  await expect(dialog).toBeVisible();
  await expect(page).toHaveURL(/\/pay/);
  await accessible(page);
  // Refused at the field: first by us, what is no number; then by Tenure, a day before anybody was employed.
  const amount = dialog.getByLabel("Amount");
  await amount.fill("1.234");
  await amount.press("Enter");
  await expect(dialog.getByText("No amount")).toBeVisible();
  await expect(amount).toBeFocused();
  await amount.fill("61,500.50");
  await dialog.getByLabel("From").fill("1990-01-01");
  await dialog.getByLabel("From").press("Enter");
  await expect(dialog.getByLabel("From")).toHaveAttribute("aria-invalid", "true");
  await expect(dialog.locator(".react-aria-FieldError")).toContainText("not employed on 1990-01-01");
  await accessible(page);
  await dialog.getByLabel("From").fill("2026-02-01");
  await dialog.getByLabel("Reason").selectOption("promotion");
  await expect(dialog).toContainText("From Feb 1, 2026 on");
  await amount.press("Enter");
  await expect(dialog).toHaveCount(0);
  const moment = page.getByRole("listitem").filter({ has: page.getByRole("button", { name: "Feb 1, 2026" }) });
  await expect(moment).toContainText(/61,500.5/);
  await expect(moment).toContainText("promotion");
  await page.keyboard.press("Escape");
});

test("a form that is closed leaves the page as it was", async ({ page }) => {
  await page.goto(`${at("demo")}/people`);
  await page.locator("tbody tr").nth(9).getByRole("link").first().click();
  await page.getByRole("link", { name: "End employment" }).click();
  await expect(page.getByRole("dialog")).toContainText("is employed up to and including");
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await expect(page).not.toHaveURL(/termination/);
});

test("who is faster wins, and the other is told", async ({ page, context }) => {
  await page.goto(`${at("demo")}/people`);
  await page.locator("tbody tr").nth(11).getByRole("link").first().click();
  await page.getByRole("link", { name: "Change contact" }).click();
  await page.getByLabel("Private e-mail").fill("slow@example.com");
  const other = await context.newPage();
  await other.goto(page.url());
  await other.getByLabel("Telephone").fill(`+43 1 ${Date.now() % 10_000_000}`);
  await other.getByRole("dialog").getByRole("button", { name: "Change contact" }).click();
  await expect(other.getByRole("dialog")).toHaveCount(0);
  await page.getByRole("dialog").getByRole("button", { name: "Change contact" }).click();
  await expect(page.getByRole("alert")).toContainText("Somebody was faster");
});

test("a department is made, moved and closed", async ({ page }) => {
  const code = `lab-${Date.now()}`;
  await page.goto(`${at("demo")}/organization/departments`);
  await page.getByRole("link", { name: "New department" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("From").fill("2026-01-01");
  await dialog.getByLabel("Name").fill("Night laboratory");
  await dialog.getByLabel("Code").fill("No Code!");
  await dialog.getByRole("button", { name: "New department" }).click();
  await expect(dialog.locator(".react-aria-FieldError")).toBeVisible();
  await dialog.getByLabel("Code").fill(code);
  await dialog.getByRole("combobox", { name: "Department above" }).fill("Platf");
  await page.getByRole("option", { name: "Platform" }).click();
  await dialog.getByRole("button", { name: "New department" }).click();
  await expect(dialog).toHaveCount(0);
  const row = page.getByRole("row").filter({ hasText: code });
  await expect(row).toContainText("Night laboratory");
  await row.getByRole("link", { name: /^Move/ }).click();
  await dialog.getByLabel("From").fill("2026-03-01");
  await dialog.getByRole("combobox", { name: "Department above" }).fill("Sales");
  await page.getByRole("option", { name: "Sales" }).click();
  await dialog.getByRole("button", { name: "Move" }).click();
  await expect(dialog).toHaveCount(0);
  await row.getByRole("link", { name: /^Close/ }).click();
  await dialog.getByLabel("From").fill("2026-06-01");
  await dialog.getByRole("button", { name: "Close down" }).click();
  await expect(dialog).toHaveCount(0);
  await expect(row, "gone today").toHaveCount(0);
  await page.goto(`${at("demo")}/organization/departments?as_of=2026-04-01`);
  await expect(row, "and there before").toContainText("closed on Jun 1, 2026");
});
