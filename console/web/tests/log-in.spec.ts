import { accessible, at, expect, logIn, password, test } from "./system";

test("whoever logs in has a cookie that no script sees, and no token", async ({ page, context }) => {
  await page.goto(`${at("demo")}/people`);
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  await accessible(page);
  await page.getByLabel("E-mail address").fill("hr@northwind.example");
  await page.getByLabel("Password").fill("something else entirely");
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("alert")).toContainText("E-mail address or password are wrong");
  await accessible(page);
  await page.getByLabel("Password").fill(password());
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("heading", { name: "People" })).toBeVisible();
  await expect(page, "the address that was asked for").toHaveURL(/\/people$/);

  const seen = await page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }]));
  expect(seen).not.toMatch(/eyJ|tr_|__Host|northwind|hr@/);
  const cookies = await context.cookies();
  expect(cookies.map((cookie) => cookie.name).sort()).toEqual(["__Host-tenure-device", "__Host-tenure-session"]);
  for (const cookie of cookies) expect(cookie).toMatchObject({ httpOnly: true, secure: true, sameSite: "Strict", path: "/" });

  await page.getByRole("button", { name: "Account" }).click();
  await page.getByRole("menuitem", { name: "Log out" }).click();
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  await page.goBack();
  await expect(page.getByRole("table"), "nothing is left to be seen").toHaveCount(0);
});

test("the demo's addresses fill the form in, and leave no password behind", async ({ page }) => {
  await page.goto(`${at("demo")}/#email=employee@northwind.example&password=${password()}`);
  await expect(page.getByLabel("E-mail address")).toHaveValue("employee@northwind.example");
  expect(page.url()).not.toContain(password());
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("heading", { name: "People" })).toBeVisible();
  await expect(page.getByRole("link", { name: "Hire" }), "an employee hires nobody").toHaveCount(0);
});

test("a host that names no tenant asks which one", async ({ page }) => {
  await page.goto(at("demo").replace("demo.localhost", "localhost"));
  await accessible(page);
  await page.getByLabel("Short name").fill("demo");
  await page.getByRole("button", { name: "Go on" }).click();
  await expect(page).toHaveURL(/\/\/demo\.localhost/);
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
});

test("a session that was ended elsewhere says so, and goes on where it was", async ({ page, context }) => {
  await logIn(page, "demo", "hr@northwind.example");
  await page.getByRole("link", { name: "Reports" }).click();
  await expect(page.getByRole("heading", { name: "Headcount" })).toBeVisible();
  const other = await context.newPage();
  await other.goto(`${at("demo")}/account`);
  await other.evaluate(() => fetch("/session", { method: "DELETE", headers: { "tenure-console": "1" } }));
  await context.clearCookies({ name: "__Host-tenure-device" });
  await page.getByLabel("By").selectOption("job");
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  await expect(page.getByRole("table")).toHaveCount(0);
  await page.getByLabel("E-mail address").fill("hr@northwind.example");
  await page.getByLabel("Password").fill(password());
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("heading", { name: "Headcount" })).toBeVisible();
});
