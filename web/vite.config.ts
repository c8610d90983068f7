import preact from "@preact/preset-vite";
import { defineConfig } from "vitest/config";
import { licences } from "./licences.ts";

// Relative URLs, so that the page works under any path of a proxy. Nothing is put inline into the
// page: its Content-Security-Policy forbids it.
export default defineConfig({
  base: "./",
  plugins: [preact(), licences()],
  build: {
    outDir: "../src/fluoroscope/studio/page",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The built page is kept in the repository: the same names each time, and readable changes.
    rolldownOptions: {
      output: {
        entryFileNames: "assets/studio.js",
        chunkFileNames: "assets/[name].js",
        assetFileNames: "assets/[name][extname]",
      },
    },
  },
  server: { proxy: { "/api": "http://127.0.0.1:8360" } },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"] },
});
