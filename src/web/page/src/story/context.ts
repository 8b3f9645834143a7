// What the rows of a story share: what can be done, what was opened, and what was loaded on demand. Rows come and go
// as one scrolls; this stays.

import { signal } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";

import type { NEvent } from "../nostr/records";
import type { Story } from "./model";

/** A file in the answer to a workspace task `diff`. */
export interface ChangedFile {
  path: string;
  op: string;
  added: number;
  removed: number;
}

/** What a workspace task `diff` answers (nips/workspace.md). */
export interface DiffAnswer {
  files: ChangedFile[];
  changed: number;
  text: string;
  cut: boolean;
  left_out?: string[];
  left_out_in_all?: number;
}

/** What a workspace task `undo` answers, as far as it is shown. */
export interface UndoAnswer {
  /** The checkpoint of what was there: bringing it back undoes the undo. */
  before: number;
  to: number;
  written?: number;
  removed?: number;
}

/** What can be done from within a story. Where something cannot be done, it is missing. */
export interface StoryActions {
  undoTo?(point: number): Promise<UndoAnswer | void>;
  previewUndo?(point: number): Promise<DiffAnswer>;
  /** Shows a file, or with an empty path all files, as of a checkpoint; undefined is now. */
  openFile?(path: string, at: number | undefined): void;
  answer?(question: string, option: string): Promise<void>;
  /** The whole of a text that was cut. */
  blob?(sha256: string): Promise<string>;
  /** Opens what the agent's program serves on a port. */
  preview?(port: number): Promise<void>;
}

/** The state of something that is loaded or done on demand. */
export type Async<T> = { state: "busy" } | { state: "done"; value: T } | { state: "failed"; why: string };

export interface Shared {
  story: Story;
  actions: StoryActions;
  /** What encrypted events say, by their ids. */
  plain: Map<string, string | null> | undefined;
  /** When the session began, in Unix seconds. */
  began: number;
  /** Whether this is a file that somebody was given, not the page. */
  shared: boolean;
  linkTo: ((id: string) => string) | undefined;
  /** Ids of events that are not what was signed. */
  suspect: ReadonlySet<string> | undefined;
  memory: Memory;
}

/** What was opened and loaded, by the item's key and a word. */
export class Memory {
  private kept = new Map<string, unknown>();
  private readonly changed = signal(0);

  get<T>(name: string): T | undefined {
    // Whoever reads is drawn again when something changes.
    void this.changed.value;
    return this.kept.get(name) as T | undefined;
  }

  set(name: string, value: unknown): void {
    this.kept.set(name, value);
    this.changed.value += 1;
  }

  /** Does something once, and keeps how it goes. */
  async run<T>(name: string, work: () => Promise<T>): Promise<void> {
    if (this.get<Async<T>>(name)?.state === "busy") return;
    this.set(name, { state: "busy" } satisfies Async<T>);
    try {
      this.set(name, { state: "done", value: await work() } satisfies Async<T>);
    } catch (error) {
      const why = error instanceof Error ? error.message : "";
      this.set(name, { state: "failed", why } satisfies Async<T>);
    }
  }
}

export const Context = createContext<Shared | undefined>(undefined);

export function useShared(): Shared {
  const shared = useContext(Context);
  if (shared === undefined) throw new Error("a row outside of a story");
  return shared;
}

/** A value that survives the row that shows it. */
export function useKept<T>(name: string, first: T): [T, (value: T) => void] {
  const { memory } = useShared();
  return [memory.get<T>(name) ?? first, (value) => memory.set(name, value)];
}

export function isAction(event: NEvent, name: string): boolean {
  return event.tags.some((tag) => tag[0] === "l" && tag[1] === name && tag[2] === "agent.action");
}
