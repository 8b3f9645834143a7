// The keyboard: one listener for the page. Views say what a key means while they are shown.

import { signal } from "@preact/signals";

export const help = signal(false);

type Handler = (event: KeyboardEvent) => boolean;
const handlers: Handler[] = [];

/** Adds a view's keys; a later one is asked first. Returns how to remove it. */
export function onKeys(handler: Handler): () => void {
  handlers.push(handler);
  return () => {
    const at = handlers.indexOf(handler);
    if (at >= 0) handlers.splice(at, 1);
  };
}

const isWriting = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.matches("input, textarea, select") || target.isContentEditable);

export function listen(): void {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (isWriting(event.target)) {
      if (event.key === "Escape") (event.target as HTMLElement).blur();
      return;
    }
    // An open window has the keyboard for itself.
    if (document.querySelector("dialog[open]") !== null) return;
    for (const handler of [...handlers].reverse()) {
      if (handler(event)) {
        event.preventDefault();
        return;
      }
    }
    if (event.key === "?") help.value = true;
    else if (event.key === "a") location.hash = "#/";
    else if (event.key === "s") location.hash = "#/sessions";
    else if (event.key === "/") {
      const field = document.querySelector<HTMLElement>("[data-search], [data-field]");
      if (field === null) return;
      event.preventDefault();
      field.focus();
    }
  });
}

/** Moves the focus along the elements of a list. */
export function step(selector: string, by: 1 | -1): boolean {
  const all = [...document.querySelectorAll<HTMLElement>(selector)];
  if (all.length === 0) return false;
  const at = all.indexOf(document.activeElement as HTMLElement);
  const next = at < 0 ? (by === 1 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1);
  all[next]?.focus();
  all[next]?.scrollIntoView({ block: "nearest" });
  return true;
}
