// What a tab remembers by itself: drafts for as long as it lives, preferences for good. Neither is a secret.

import { type Signal, signal } from "@preact/signals";

function read(storage: () => Storage, name: string): string | null {
  try {
    return storage().getItem(`treefort.${name}`);
  } catch {
    return null;
  }
}

function write(storage: () => Storage, name: string, value: string): void {
  try {
    if (value === "") storage().removeItem(`treefort.${name}`);
    else storage().setItem(`treefort.${name}`, value);
  } catch {
    // Then it is kept in memory only.
  }
}

const drafts = new Map<string, Signal<string>>();

/** What is being written somewhere; it outlives a reload. */
export function draft(place: string): Signal<string> {
  const known = drafts.get(place);
  if (known !== undefined) return known;
  const name = `draft.${place}`;
  const kept = signal(read(() => sessionStorage, name) ?? "");
  kept.subscribe((text) => write(() => sessionStorage, name, text));
  drafts.set(place, kept);
  return kept;
}

/** A preference. */
export function preference(name: string): Signal<string> {
  const kept = signal(read(() => localStorage, name) ?? "");
  kept.subscribe((text) => write(() => localStorage, name, text));
  return kept;
}
