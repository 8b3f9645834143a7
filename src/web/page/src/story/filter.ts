// What of a story is shown, and where a word stands in it.

import { kind, type NEvent, tags, value } from "../nostr/records";
import { type Item, Sort, type SortName, type Story } from "./model";

export interface Filter {
  /** Kinds of step that are shown; none means all. */
  sorts: number;
  /** Part of a path; empty means any. */
  path: string;
}

export const ALL: Filter = { sorts: 0, path: "" };

export function isOn(filter: Filter): boolean {
  return filter.sorts !== 0 || filter.path !== "";
}

export function toggled(filter: Filter, name: SortName): Filter {
  return { ...filter, sorts: filter.sorts ^ Sort[name] };
}

/** Whether an item is shown. */
export function passes(story: Story, item: Item, filter: Filter): boolean {
  if (filter.sorts !== 0 && (item.sorts & filter.sorts) === 0) return false;
  return filter.path === "" || names(story, item, filter.path.toLowerCase());
}

/** Whether an item is about a path. */
function names(story: Story, item: Item, path: string): boolean {
  switch (item.kind) {
    case "file": {
      const event = story.event(item.at);
      return event !== undefined && (value(event, "path") ?? "").toLowerCase().includes(path);
    }
    case "many":
    case "differs":
    case "problem":
    case "ran":
    case "quiet":
      return story.of(item).some((event) => searchable(event).toLowerCase().includes(path));
    default:
      return false;
  }
}

/** The positions in `story.items` of those that are shown, from one on. */
export function shown(story: Story, filter: Filter, from = 0): number[] {
  const found: number[] = [];
  for (let at = from; at < story.items.length; at += 1) {
    const item = story.items[at];
    if (item !== undefined && passes(story, item, filter)) found.push(at);
  }
  return found;
}

/** All words of an event that the story shows. */
export function searchable(event: NEvent): string {
  switch (event.kind) {
    case kind.chatJob:
    case kind.taskJob:
      return tags(event, "i").map((tag) => tag[1]).join("\n");
    case kind.action: {
      const named = ["path", "cmd"].flatMap((name) => tags(event, name).map((tag) => tag.slice(1).join(" ")));
      return `${named.join("\n")}\n${value(event, "alt") ?? ""}\n${event.content}`;
    }
    default:
      return `${value(event, "alt") ?? ""}\n${event.content}`;
  }
}

/** How many events are looked through before others get a turn. */
const AT_ONCE = 2000;

/**
 * The keys of items with a text in them, in the order of the story. Gives way to the page now and then, and ends
 * with what it has when `stopped` says so.
 */
export async function search(
  story: Story,
  text: string,
  plain: Map<string, string | null> | undefined,
  stopped: () => boolean,
): Promise<number[]> {
  const wanted = text.toLowerCase();
  const found: number[] = [];
  let looked = 0;
  for (const item of story.items) {
    const has = story.of(item).some((event) => {
      looked += 1;
      return `${searchable(event)}\n${plain?.get(event.id) ?? ""}`.toLowerCase().includes(wanted);
    });
    if (has) found.push(item.key);
    if (looked >= AT_ONCE) {
      looked = 0;
      await new Promise((next) => setTimeout(next));
      if (stopped()) break;
    }
  }
  return found;
}
