// All that is known of one conversation while it is looked at: the records of its sessions, and the text that is
// being written.

import { computed, type ReadonlySignal, signal } from "@preact/signals";

import { isPrivate, kind, label, type NEvent, type NFilter, number, RECORDS, seq, tag, value } from "../nostr/records";
import type { Listening, Relay } from "../nostr/relay";
import type { Conversation, Job } from "./conversations";
import type { Store } from "./store";

/** Records that are loaded at a time; older ones come when they are asked for. */
const PAGE = 1000;
/** The most that the relay gives at once, for the second that has more than a page. */
const MOST = 5000;
/** Of so many of the newest jobs of a conversation more is heard; a relay bounds what one may listen to. */
const FOLLOWED = 40;
/** Pieces of text that wait for one that has not come. */
const EARLY = 4096;
/** Records that wait for their session to be known. */
const STRANGERS = 5000;

/** What a job has used, as the gateway counted it. */
export interface Used {
  /** Tokens read and written. */
  read: number;
  written: number;
  calls: number;
  microusd: number;
  /** A call's price was not known. */
  unpriced: boolean;
  model: string | undefined;
}

/** One job's records. */
class JobFeed {
  readonly sessions = new Set<string>();
  session: string | undefined;
  older = false;
  text = new LiveText();
  readonly used: Used = nothing();
  /** When programs of the agent's began to listen, and ended. */
  readonly serves: NEvent[] = [];
  /** Sessions that ended, and all that they served with them. */
  readonly ended = new Set<string>();
  private told: NEvent[] = [];
  /** What came since the records were last looked at. */
  private fresh: NEvent[] = [];
  /** When each session was first heard of, to tell which came before. */
  private readonly began = new Map<string, number>();
  private readonly ids = new Set<string>();
  private strangers: NEvent[] = [];
  private listening: Listening | undefined;
  private oldest = Number.POSITIVE_INFINITY;

  constructor(
    readonly id: string,
    private readonly relay: Relay,
    private readonly coordinator: string,
    private readonly changed: () => void,
    private readonly heard: (event: NEvent) => void,
    /** Whether more may come. */
    stays: boolean,
  ) {
    let stored = 0;
    let complete = false;
    const filters: NFilter[] = [
      { kinds: [kind.taskJob], authors: [coordinator], "#E": [id] },
      { kinds: RECORDS, "#E": [id], limit: PAGE },
      { kinds: [kind.delta], "#e": [id] },
    ];
    this.listening = relay.listen({
      filters,
      onevent: (event) => {
        if (!complete && event.kind !== kind.taskJob) stored += 1;
        this.take(event);
      },
      oneose: () => {
        complete = true;
        this.older = stored >= PAGE;
        this.changed();
        if (!stays) queueMicrotask(() => this.close());
      },
    });
  }

  /** In order. Another array whenever there is another record. */
  get records(): NEvent[] {
    if (this.fresh.length === 0) return this.told;
    const fresh = this.fresh.sort(this.order);
    this.fresh = [];
    const [first, last] = [this.told[0], this.told.at(-1)];
    const [begin, end] = [fresh[0] as NEvent, fresh.at(-1) as NEvent];
    if (last === undefined || this.order(last, begin) < 0) this.told = this.told.concat(fresh);
    else if (first !== undefined && this.order(end, first) < 0) this.told = fresh.concat(this.told);
    else this.told = this.told.concat(fresh).sort(this.order);
    return this.told;
  }

  close(): void {
    this.listening?.close();
    this.listening = undefined;
  }

  /** Loads older records. */
  async more(): Promise<void> {
    const before = this.ids.size;
    for (let limit = PAGE; ; limit = Math.min(2 * limit, MOST)) {
      const found = await this.relay.query([{ kinds: RECORDS, "#E": [this.id], until: this.oldest, limit }]);
      for (const event of found) this.take(event);
      this.older = found.length >= limit && (limit < MOST || this.ids.size > before);
      // A page that brought nothing new was all of one second: more of it, until what is older is reached.
      if (this.ids.size > before || !this.older) break;
    }
    this.changed();
  }

  /** Records of a session by their numbers; sessions by their time. */
  private readonly order = (a: NEvent, b: NEvent): number =>
    a.pubkey === b.pubkey ? seq(a) - seq(b) : (this.began.get(a.pubkey) ?? 0) - (this.began.get(b.pubkey) ?? 0);

  private take(event: NEvent): void {
    if (event.kind === kind.taskJob) {
      const session = value(event, "p");
      if (event.pubkey !== this.coordinator || session === undefined) return;
      this.sessions.add(session);
      this.session = session;
      this.began.set(session, event.created_at * 1000 + this.began.size);
      const strangers = this.strangers;
      this.strangers = [];
      for (const stranger of strangers) this.take(stranger);
      this.changed();
      return;
    }
    // What no session of this job signed is somebody else's word.
    if (!this.sessions.has(event.pubkey)) {
      if (this.strangers.length < STRANGERS) this.strangers.push(event);
      return;
    }
    if (event.kind === kind.delta) {
      if (this.text.take(number(event, "stream-seq"), event.content)) this.changed();
      return;
    }
    if (this.ids.has(event.id)) return;
    this.ids.add(event.id);
    this.oldest = Math.min(this.oldest, event.created_at);
    this.fresh.push(event);
    count(this.used, event);
    if (event.kind === kind.end) this.ended.add(event.pubkey);
    if (event.kind === kind.action) {
      if (label(event) === "serve") this.serves.push(event);
      this.heard(event);
      if (value(event, "l") === "message") this.text.end();
    }
    this.changed();
  }
}

/** Text that comes in numbered pieces, of which some may be lost. */
class LiveText {
  shown = "";
  private next = 0;
  private early = new Map<number, string>();
  /** A piece is missing, so what is shown begins with what the coordinator repeated. */
  private gap = false;

  take(at: number | undefined, piece: string): boolean {
    if (at === undefined || at < this.next) return false;
    if (this.gap) {
      this.next = at + 1;
      this.shown += piece;
      return true;
    }
    if (this.early.size < EARLY) this.early.set(at, piece);
    let grown = false;
    for (let ready = this.early.get(this.next); ready !== undefined; ready = this.early.get(this.next)) {
      this.early.delete(this.next);
      this.shown += ready;
      this.next += 1;
      grown = true;
    }
    return grown;
  }

  /** The text so far, from its beginning: it fills a gap. */
  repeat(text: string): boolean {
    if (text.length <= this.shown.length || (this.next > 0 && this.early.size === 0 && !this.gap)) return false;
    this.gap = true;
    this.shown = text;
    for (const at of this.early.keys()) this.next = Math.max(this.next, at + 1);
    this.early.clear();
    return true;
  }

  /** The whole message is on the record; what comes now belongs to the next one. */
  end(): void {
    this.shown = "";
    this.gap = true;
    for (const at of this.early.keys()) this.next = Math.max(this.next, at + 1);
    this.early.clear();
  }
}

/** A conversation that is looked at. */
export class Feed {
  private readonly feeds = new Map<string, JobFeed>();
  private readonly version = signal(0);
  private waiting: ReturnType<typeof setTimeout> | undefined;
  private readonly stop: () => void;

  readonly conversation: ReadonlySignal<Conversation | undefined>;
  /** The story: requests, and the records that came of them. */
  readonly events: ReadonlySignal<NEvent[]>;
  /** What is being written. */
  readonly live: ReadonlySignal<string>;
  readonly used: ReadonlySignal<Used>;
  /** The newest session. */
  readonly session: ReadonlySignal<string | undefined>;
  /** Ports in the newest session's sandbox on which something listens. */
  readonly ports: ReadonlySignal<number[]>;
  /** What the last record says that it does. */
  readonly step: ReadonlySignal<NEvent | undefined>;

  constructor(
    readonly id: string,
    private readonly store: Store,
  ) {
    this.conversation = computed(() => {
      void store.version.value;
      return store.conversation(id);
    });
    this.events = computed(() => {
      void this.version.value;
      const told = (this.conversation.value?.jobs ?? []).map((job) => this.told(job));
      return told.length === 1 ? (told[0] ?? []) : told.flat();
    });
    this.live = computed(() => {
      void this.version.value;
      const job = this.conversation.value?.jobs.at(-1);
      if (job === undefined || job.result !== undefined || job.endedAt !== undefined) return "";
      const feed = this.feeds.get(job.id);
      if (feed !== undefined && job.partial !== undefined) feed.text.repeat(job.partial);
      return feed?.text.shown || (feed?.records.length === 0 ? (job.partial ?? "") : "");
    });
    this.used = computed(() => {
      void this.version.value;
      const used = nothing();
      for (const job of this.conversation.value?.jobs ?? []) {
        const own = this.feeds.get(job.id)?.used;
        if (own === undefined) continue;
        used.read += own.read;
        used.written += own.written;
        used.calls += own.calls;
        used.microusd += own.microusd;
        used.unpriced ||= own.unpriced;
        used.model = own.model ?? used.model;
      }
      return used;
    });
    this.session = computed(() => {
      void this.version.value;
      const sessions = (this.conversation.value?.jobs ?? []).map((job) => this.feeds.get(job.id)?.session);
      return sessions.findLast((session) => session !== undefined);
    });
    this.ports = computed(() => {
      void this.version.value;
      const feeds = [...this.feeds.values()];
      const open = new Set<number>();
      for (const event of feeds.flatMap((feed) => feed.serves).sort((a, b) => seq(a) - seq(b))) {
        const port = number(event, "port");
        if (port === undefined || event.pubkey !== this.session.value || feeds.some((feed) => feed.ended.has(event.pubkey))) continue;
        if (tag(event, "closed") === undefined) open.add(port);
        else open.delete(port);
      }
      return [...open];
    });
    this.step = computed(() => {
      const last = this.events.value.findLast((event) => RECORDS.includes(event.kind) && value(event, "l") !== "model");
      return last;
    });
    this.stop = this.conversation.subscribe((conversation) => {
      const jobs = conversation?.jobs ?? [];
      jobs.forEach((job, at) => this.follow(job.id, jobs.length - at <= FOLLOWED));
    });
  }

  /** Loads older records; whether there are still more. */
  async more(): Promise<boolean> {
    const jobs = this.conversation.value?.jobs ?? [];
    for (const job of [...jobs].reverse()) {
      const feed = this.feeds.get(job.id);
      if (feed?.older) {
        await feed.more();
        return this.older;
      }
    }
    return false;
  }

  get older(): boolean {
    return [...this.feeds.values()].some((feed) => feed.older);
  }

  close(): void {
    this.stop();
    for (const feed of this.feeds.values()) feed.close();
    this.feeds.clear();
    clearTimeout(this.waiting);
  }

  private follow(id: string, stays: boolean): void {
    if (this.feeds.has(id)) return;
    const changed = (): void => {
      this.waiting ??= setTimeout(() => {
        this.waiting = undefined;
        this.version.value += 1;
      }, 16);
    };
    const feed = new JobFeed(id, this.store.relay, this.store.coordinator, changed, (event) => this.store.take(event), stays);
    this.feeds.set(id, feed);
  }

  /** A job as the story tells it. */
  private told(job: Job): NEvent[] {
    const request = job.event ?? job.inner;
    const records = this.feeds.get(job.id)?.records ?? [];
    // A private job's words are in its result alone.
    const result = job.result !== undefined && isPrivate(job.result) ? [job.result] : [];
    // A session ends after its answer.
    const end = records.length - (records.at(-1)?.kind === kind.end ? 1 : 0);
    return (request === undefined ? [] : [request]).concat(records.slice(0, end), result, records.slice(end));
  }
}

const nothing = (): Used => ({ read: 0, written: 0, calls: 0, microusd: 0, unpriced: false, model: undefined });

/** Adds what a record says that it cost. */
function count(used: Used, event: NEvent): void {
  if (event.kind === kind.start) used.model = value(event, "model") ?? used.model;
  if (event.kind !== kind.action || value(event, "l") !== "model") return;
  used.calls += 1;
  used.read += number(event, "tokens", 1) ?? 0;
  used.written += number(event, "tokens", 2) ?? 0;
  const cost = number(event, "microusd");
  if (cost === undefined) used.unpriced = true;
  else used.microusd += cost;
  used.model = value(event, "model") ?? used.model;
}
