// Where the page is: the part of its address after `#/`. Nothing of it reaches the server.

import { signal } from "@preact/signals";

import { MAX_COMPARED } from "../nostr/comparison";

export type Route =
  | { view: "start" }
  | { view: "session"; id: string; step: string | undefined }
  | { view: "sessions" }
  | { view: "compare"; ids: string[]; comparison: string | undefined }
  | { view: "touch" };

const HEX = /^[0-9a-f]{64}$/;

export function parse(hash: string): Route {
  const [view, rest = "", step] = hash.replace(/^#\/?/, "").split("/", 3) as [string, string?, string?];
  if (view === "s" && HEX.test(rest)) return { view: "session", id: rest, step: /^[0-9a-f]{4,64}$/.test(step ?? "") ? step : undefined };
  if (view === "compare") {
    // What was asked of several at once is known by what ties it together.
    if (rest.startsWith("=") && HEX.test(rest.slice(1))) return { view: "compare", ids: [], comparison: rest.slice(1) };
    const ids = rest.split(",").filter((id) => HEX.test(id));
    return { view: "compare", ids: [...new Set(ids)].slice(0, MAX_COMPARED), comparison: undefined };
  }
  if (view === "sessions" || view === "touch") return { view };
  return { view: "start" };
}

export const hrefs = {
  start: "#/",
  sessions: "#/sessions",
  touch: "#/touch",
  session: (id: string): string => `#/s/${id}`,
  step: (id: string, step: string): string => `#/s/${id}/${step.slice(0, 16)}`,
  comparison: (id: string): string => `#/compare/=${id}`,
  compare: (ids: string[]): string => `#/compare/${ids.join(",")}`,
};

export const route = signal<Route>(parse(location.hash));

addEventListener("hashchange", () => {
  route.value = parse(location.hash);
});

export function go(href: string): void {
  location.hash = href;
}
