// The page's connection to the relay. It comes back by itself, asks again from where it was, and keeps what was
// published until the relay has it: a job that was signed is never lost, and never sent under another id.

import { signal } from "@preact/signals";
import { AbstractRelay, type Subscription } from "nostr-tools/abstract-relay";
import type { VerifiedEvent } from "nostr-tools/core";

import type { Draft } from "./api";
import { kind, type NEvent, type NFilter } from "./records";

export type State = "connecting" | "open" | "lost";

/** How a connection is tried again, in milliseconds. */
const BACKOFF = [250, 500, 1000, 2000, 4000, 8000];
/** How long a try may take. */
const CONNECT = 8000;
/** A relay that says nothing for so long is gone. */
const SILENCE = 8000;
/** Seconds before the newest event that are asked for again: what was signed earlier may be stored later. */
const OVERLAP = 30;
/** Ids that a subscription remembers, so that what comes twice is seen once. */
const REMEMBERED = 200_000;
/** How nostr-tools begins what it says itself when a connection ends. */
const OURS = "relay connection";
const OUTBOX = "treefort.outbox";

/** What somebody wants to hear, across connections. */
export interface Wanted {
  filters: NFilter[];
  onevent: (event: NEvent) => void;
  /** All that is stored has come; called once. */
  oneose?: () => void;
  /** The relay will not serve this. */
  onrefused?: (reason: string) => void;
}

export interface Listening {
  close: () => void;
}

interface Entry extends Wanted {
  seen: Set<string>;
  newest: number;
  complete: boolean;
  running: Subscription | undefined;
}

interface Waiting {
  event: NEvent;
  resolve: () => void;
  reject: (error: Error) => void;
}

/** The relay did not take an event; the sentence is its own. */
export class Refused extends Error {}

export class Relay {
  readonly state = signal<State>("connecting");
  /** When the connection was lost, in milliseconds. */
  readonly lostAt = signal<number | undefined>(undefined);
  /** Events that the relay has not acknowledged. */
  readonly unsent = signal(0);

  private inner: AbstractRelay | undefined;
  private wanted = new Set<Entry>();
  private outbox = new Map<string, Waiting>();
  private tries = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private ended = false;
  private proving = false;

  constructor(
    private readonly url: string,
    /** Whether it is still our relay that answers; asked before each connection but the first. */
    private readonly isOurs: () => Promise<boolean>,
    /** Signs the answer to a relay that asks who we are. */
    private readonly authenticate: (draft: Draft) => Promise<NEvent>,
  ) {
    for (const event of loadOutbox()) {
      this.outbox.set(event.id, { event, resolve: () => {}, reject: () => {} });
    }
    this.unsent.value = this.outbox.size;
    addEventListener("online", this.hurry);
    document.addEventListener("visibilitychange", this.hurry);
    void this.connect();
  }

  /** Hears what is stored and what comes, until it is closed. */
  listen(wanted: Wanted): Listening {
    const entry: Entry = { ...wanted, seen: new Set(), newest: 0, complete: false, running: undefined };
    this.wanted.add(entry);
    if (this.state.value === "open") this.ask(entry);
    return {
      close: () => {
        this.wanted.delete(entry);
        entry.running?.close();
      },
    };
  }

  /** What is stored, once. Waits for the connection. */
  query(filters: NFilter[]): Promise<NEvent[]> {
    return new Promise((resolve, reject) => {
      const found: NEvent[] = [];
      const listening = this.listen({
        filters,
        onevent: (event) => found.push(event),
        oneose: () => {
          resolve(found);
          // The entry is not known yet when the relay answers at once.
          queueMicrotask(() => listening.close());
        },
        onrefused: (reason) => reject(new Refused(reason)),
      });
    });
  }

  /** Publishes an event; the promise ends when the relay has it, or does not want it. */
  publish(event: NEvent): Promise<void> {
    return new Promise((resolve, reject) => {
      this.outbox.set(event.id, { event, resolve, reject });
      this.keepOutbox();
      if (this.state.value === "open") void this.send(event.id);
    });
  }

  /** Ends it for good. */
  close(): void {
    this.ended = true;
    clearTimeout(this.timer);
    removeEventListener("online", this.hurry);
    document.removeEventListener("visibilitychange", this.hurry);
    this.inner?.close();
  }

  /** Does not wait for the next try. */
  readonly hurry = (): void => {
    if (this.state.value === "lost" && document.visibilityState === "visible") {
      clearTimeout(this.timer);
      void this.connect();
    }
  };

  private async connect(): Promise<void> {
    if (this.ended || this.inner !== undefined || this.proving) return;
    if (this.lostAt.value !== undefined) {
      this.proving = true;
      const ours = await this.isOurs();
      this.proving = false;
      if (!ours) return this.again();
      if (this.ended) return;
    }
    // Events of our own relay were verified by it; checking each again costs a millisecond.
    const inner = new AbstractRelay(this.url, { verifyEvent: (_event): _event is never => true, enablePing: true });
    this.inner = inner;
    inner.baseEoseTimeout = 2 ** 31 - 1;
    inner.publishTimeout = 2 ** 31 - 1;
    inner.pingFrequency = SILENCE;
    inner.pingTimeout = SILENCE;
    inner.onnotice = () => {};
    inner.onclose = () => this.lost(inner);
    try {
      await inner.connect({ timeout: CONNECT });
    } catch {
      this.lost(inner);
      return;
    }
    this.tries = 0;
    this.lostAt.value = undefined;
    this.state.value = "open";
    for (const entry of this.wanted) this.ask(entry);
    for (const id of this.outbox.keys()) void this.send(id);
  }

  private lost(inner: AbstractRelay): void {
    if (this.inner !== inner) return;
    this.inner = undefined;
    for (const entry of this.wanted) entry.running = undefined;
    if (this.ended) return;
    this.lostAt.value ??= Date.now();
    this.state.value = "lost";
    this.again();
  }

  /** Tries it again after a while. */
  private again(): void {
    if (this.ended) return;
    const wait = BACKOFF[Math.min(this.tries, BACKOFF.length - 1)] ?? 8000;
    this.tries += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.connect(), wait * (0.8 + Math.random() * 0.4));
  }

  private ask(entry: Entry): void {
    const inner = this.inner;
    if (inner === undefined) return;
    // What came before the end of the stored events says nothing about what is still missing.
    const since = entry.complete && entry.newest > 0 ? entry.newest - OVERLAP : undefined;
    const filters = since === undefined ? entry.filters : entry.filters.map((filter) => later(filter, since));
    const running: Subscription = inner.subscribe(filters as never, {
      onevent: (event) => {
        if (entry.running !== running || entry.seen.has(event.id)) return;
        if (entry.seen.size >= REMEMBERED) entry.seen.clear();
        entry.seen.add(event.id);
        entry.newest = Math.max(entry.newest, event.created_at);
        entry.onevent(event);
      },
      oneose: () => {
        if (entry.complete || entry.running !== running) return;
        entry.complete = true;
        entry.oneose?.();
      },
      onclose: (reason) => {
        if (entry.running !== running || !this.wanted.has(entry) || this.inner !== inner) return;
        entry.running = undefined;
        if (reason.startsWith("auth-required")) {
          this.prove(inner).then(
            () => this.ask(entry),
            () => entry.onrefused?.(reason),
          );
        } else if (!reason.startsWith(OURS)) {
          entry.onrefused?.(reason);
        }
      },
    });
    entry.running = running;
  }

  private async send(id: string, proved = false): Promise<void> {
    const waiting = this.outbox.get(id);
    const inner = this.inner;
    if (waiting === undefined || inner === undefined) return;
    try {
      await inner.publish(waiting.event as never);
      waiting.resolve();
    } catch (error) {
      // It stays in the outbox when it was the connection that failed.
      if (this.inner !== inner || this.state.value !== "open") return;
      const reason = error instanceof Error ? error.message : String(error);
      if (reason.startsWith(OURS)) return;
      if (reason.startsWith("auth-required") && !proved && (await this.proved(inner))) return await this.send(id, true);
      if (reason.startsWith("duplicate")) waiting.resolve();
      else waiting.reject(new Refused(reason));
    }
    this.outbox.delete(id);
    this.keepOutbox();
  }

  /** Says who we are, once in a connection (NIP-42). */
  private prove(inner: AbstractRelay): Promise<string> {
    return inner.auth(async (draft) => (await this.authenticate(draft)) as VerifiedEvent);
  }

  private async proved(inner: AbstractRelay): Promise<boolean> {
    return await this.prove(inner).then(
      () => true,
      () => false,
    );
  }

  private keepOutbox(): void {
    this.unsent.value = this.outbox.size;
    try {
      sessionStorage.setItem(OUTBOX, JSON.stringify([...this.outbox.values()].map((waiting) => waiting.event)));
    } catch {
      // Then it is in memory only.
    }
  }
}

function loadOutbox(): NEvent[] {
  try {
    const kept: unknown = JSON.parse(sessionStorage.getItem(OUTBOX) ?? "[]");
    // Who we are is asked anew on each connection.
    return Array.isArray(kept) ? (kept as NEvent[]).filter((event) => event.kind !== kind.auth) : [];
  } catch {
    return [];
  }
}

function later(filter: NFilter, since: number): NFilter {
  const { limit: _, ...rest } = filter;
  return { ...rest, since: Math.max(filter.since ?? 0, since) };
}
