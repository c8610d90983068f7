/// <reference types="node" />
// Beside the built page lies `licences.txt`: the licence of every package whose code is in it.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

const PACKAGE = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//;

export function licences(): Plugin {
  return {
    name: "licences",
    apply: "build",
    generateBundle(_, bundle) {
      const folders = new Set<string>();
      for (const part of Object.values(bundle)) {
        const modules = part.type === "chunk" ? part.moduleIds : [];
        for (const module of modules) {
          const folder = PACKAGE.exec(module.replaceAll("\\", "/"))?.[1];
          if (folder !== undefined) folders.add(folder);
        }
      }
      const source = [...folders].map(said).sort().join("\n\n");
      this.emitFile({ type: "asset", fileName: "licences.txt", source: `${source}\n` });
    },
  };
}

/** A package's name, version and licence; one without a text ends the build. */
function said(folder: string): string {
  const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf-8"));
  const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
  if (file === undefined) throw new Error(`${about.name} has no text of its licence`);
  const text = readFileSync(join(folder, file), "utf-8").trim();
  return `${about.name} ${about.version} (${about.license})\n\n${text}`;
}
