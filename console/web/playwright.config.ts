import { existsSync } from "node:fs";

import { defineConfig } from "@playwright/test";

/** Debian's, or what `CHROMIUM` names. Nothing is downloaded. */
const chromium = [process.env["CHROMIUM"], "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  (path) => path && existsSync(path),
);

export default defineConfig({
  testDir: "tests",
  outputDir: "../../target/console-tests",
  timeout: 60_000,
  expect: { timeout: 15_000 },
  fullyParallel: false,
  workers: Number(process.env["WORKERS"] ?? 2),
  retries: 0,
  forbidOnly: true,
  reporter: [["list"]],
  use: {
    browserName: "chromium",
    locale: "en-GB",
    // The server's day is what counts; a browser elsewhere shows it.
    timezoneId: "Pacific/Auckland",
    viewport: { width: 1280, height: 800 },
    trace: "retain-on-failure",
    launchOptions: { ...(chromium ? { executablePath: chromium } : {}), args: ["--no-sandbox"] },
  },
  projects: [
    { name: "browser", testMatch: /.*\.spec\.ts/ },
    { name: "screenshots", testMatch: /screenshots\.ts/ },
  ],
});
