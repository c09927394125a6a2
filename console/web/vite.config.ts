import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

import optimizeLocales from "@react-aria/optimize-locales-plugin";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const dist = join(import.meta.dirname, "../dist");

/** Compressed bytes of one file, and of all together: who adds to them does so on purpose. */
const BUDGET = { file: 125_000, all: 250_000 };

/** Writes each file compressed, too, so that the console's backend compresses nothing. */
function precompressed(): Plugin {
  return {
    name: "precompressed",
    apply: "build",
    closeBundle() {
      const folder = join(dist, "assets");
      let all = 0;
      for (const name of readdirSync(folder).filter((name) => /\.(js|css|svg)$/.test(name))) {
        const bytes = readFileSync(join(folder, name));
        writeFileSync(join(folder, `${name}.gz`), gzipSync(bytes, { level: 9 }));
        const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
        const small = brotliCompressSync(bytes, { params });
        writeFileSync(join(folder, `${name}.br`), small);
        all += small.length;
        if (small.length > BUDGET.file) throw new Error(`${name} has ${small.length} bytes compressed, more than ${BUDGET.file}`);
      }
      if (all > BUDGET.all) throw new Error(`the console has ${all} bytes compressed, more than ${BUDGET.all}`);
    },
  };
}

/** `make console-dev` names the console of a running system; its backend answers what is no file of ours. */
const backend = process.env["TENURE_CONSOLE"] ?? "http://127.0.0.1:7415";

export default defineConfig({
  plugins: [{ ...optimizeLocales.vite({ locales: ["en-US", "de-DE"] }), enforce: "pre" }, react(), precompressed()],
  build: {
    outDir: dist,
    emptyOutDir: true,
    target: "es2023",
    // Nothing becomes part of another file: the policy allows no `data:`.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [{ name: "vendor", test: /node_modules\/(react|react-dom|react-router|scheduler|@tanstack|i18next|react-i18next)\// }],
        },
      },
    },
  },
  server: {
    // The host names the tenant, so it goes on as it is.
    host: "127.0.0.1",
    port: 5173,
    strictPort: true,
    allowedHosts: [".localhost"],
    proxy: { "/v1": { target: backend }, "/session": { target: backend } },
  },
  test: { include: ["src/**/*.test.ts", "src/**/*.test.tsx"] },
} as never);
