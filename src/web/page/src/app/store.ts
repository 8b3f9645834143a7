// What the page knows: its jobs and what became of them, as one list that the relay keeps current.

import { computed, signal } from "@preact/signals";

import { decrypt } from "../nostr/api";
import { type Feedback, feedback } from "../nostr/jobs";
import { isHex, isPrivate, JOBS, kind, label, type NEvent, type NFilter, RECORDS, RESULTS, tag, tags, value } from "../nostr/records";
import type { Relay } from "../nostr/relay";
import { type Conversation, grouped, type KnownJob, type Question } from "./conversations";

/** How many requests are loaded at a time. */
const PAGE = 300;
/** Answers for each request, about. */
const ANSWERS = 1500;
/** Jobs whose answers are asked for at once, and how many of those: what a relay gives of itself is few. */
const ASKED = 25;
const MOST = 5000;
/** Jobs that a search brings onto the list at most. */
const MOST_FOUND = 50;
/** Keys that may wait to be known as sessions. */
const EARLY = 1000;

export class Store {
  /** Bumped, a few times a second at most, whenever anything is news. */
  readonly version = signal(0);
  /** All stored jobs have come. */
  readonly loaded = signal(false);
  /** There are older ones. */
  readonly more = signal(false);

  readonly jobs = new Map<string, KnownJob>();
  /** What encrypted events say, by id; `null` when nobody can tell. */
  readonly plain = new Map<string, string | null>();
  private readonly questions = new Map<string, Question>();
  private readonly answered = new Set<string>();
  readonly resultOf = new Map<string, string>();
  private readonly withdrawn = new Map<string, NEvent>();
  private readonly lookedUp = new Set<string>();
  /** Jobs that their owner deleted for good; nothing of them is taken in again. */
  private readonly purged = new Set<string>();
  /** The jobs that were handed to a session, in order; what nobody handed a job to is no session. */
  readonly handed = new Map<string, string[]>();
  private readonly inner = new Map<string, NEvent>();
  private readonly paused = new Map<string, boolean>();
  private readonly earlyActions = new Map<string, NEvent[]>();
  private readonly undecrypted = new Map<string, NEvent>();
  private readonly early = new Map<string, NEvent[]>();
  private waiting: ReturnType<typeof setTimeout> | undefined;
  private oldest = Number.POSITIVE_INFINITY;

  readonly conversations = computed<Conversation[]>(() => {
    void this.version.value;
    return grouped(this);
  });

  constructor(
    readonly relay: Relay,
    readonly coordinator: string,
    readonly operator: string,
  ) {
    let left = 2;
    const done = (): void => {
      left -= 1;
      if (left === 0) {
        this.loaded.value = true;
        this.touch();
        this.lookUp();
        void this.answersOf([...this.jobs.values()].filter((job) => job.said === undefined && job.result === undefined));
      }
    };
    let requests = 0;
    relay.listen({
      filters: [{ kinds: JOBS, "#p": [coordinator], limit: PAGE }],
      onevent: (event) => {
        requests += this.loaded.value ? 0 : 1;
        this.takeRequest(event);
      },
      oneose: () => {
        this.more.value = requests >= PAGE;
        done();
      },
    });
    relay.listen({
      filters: [
        { kinds: [kind.feedback, ...RESULTS], authors: [coordinator], limit: ANSWERS },
        { kinds: [kind.taskJob], authors: [coordinator], limit: ANSWERS },
        { kinds: [kind.deletion], authors: [operator], limit: PAGE },
        { kinds: [kind.action], "#l": ["question", "answer", "pause", "resume"], limit: PAGE },
      ],
      onevent: (event) => this.take(event),
      oneose: done,
    });
  }

  /** Loads older jobs. */
  async loadMore(): Promise<void> {
    const until = this.oldest;
    const filter: NFilter = { kinds: JOBS, "#p": [this.coordinator], until, limit: PAGE };
    const events = await this.relay.query([filter]);
    this.more.value = events.length >= PAGE;
    const fresh = events.filter((event) => !this.jobs.has(event.id));
    for (const event of fresh) this.takeRequest(event);
    await this.answersOf(fresh);
  }

  /** What became of jobs whose answers did not come with the newest ones. One of hours has hundreds. */
  private async answersOf(jobs: { id: string }[]): Promise<void> {
    for (let at = 0; at < jobs.length; at += ASKED) {
      const ids = jobs.slice(at, at + ASKED).map((job) => job.id);
      const filter: NFilter = { kinds: [kind.feedback, ...RESULTS], authors: [this.coordinator], "#e": ids, limit: MOST };
      const seen = new Set<string>();
      for (let before = -1; before < seen.size; ) {
        before = seen.size;
        for (const event of await this.relay.query([filter])) {
          filter.until = Math.min(filter.until ?? event.created_at, event.created_at);
          if (!seen.has(event.id)) this.take(event);
          seen.add(event.id);
        }
      }
    }
  }

  /** Has a job that is not on the list, because it is old. */
  async load(id: string): Promise<boolean> {
    if (this.jobs.has(id)) return true;
    const found = await this.relay.query([
      { ids: [id], kinds: JOBS },
      { kinds: [kind.feedback, ...RESULTS], authors: [this.coordinator], "#e": [id] },
    ]);
    for (const event of found) {
      if (event.id === id) this.takeRequest(event);
    }
    for (const event of found) {
      if (event.id !== id) this.take(event);
    }
    return this.jobs.has(id);
  }

  /** The jobs with all of these words in what was asked, done or answered. Those that are not on the list come on it. */
  async search(words: string): Promise<ReadonlySet<string>> {
    const found = new Set<string>();
    const kinds = [...JOBS, ...RESULTS, ...RECORDS];
    for (const event of await this.relay.query([{ kinds, search: words, limit: PAGE }])) {
      const asked = JOBS.includes(event.kind) && event.pubkey !== this.coordinator;
      const id = asked ? event.id : (value(event, "E") ?? value(event, "e"));
      if (isHex(id)) found.add(id);
    }
    const missing = [...found].filter((id) => !this.jobs.has(id)).slice(0, MOST_FOUND);
    await Promise.all(missing.map((id) => this.load(id)));
    return found;
  }

  /** Whether anything encrypted is still being read. */
  get reading(): boolean {
    return this.undecrypted.size > 0;
  }

  conversation(id: string): Conversation | undefined {
    return this.conversations.value.find((found) => found.id === id || found.jobs.some((job) => job.id === id));
  }

  /** Whether a session was given the job: then it has its place. */
  began(job: string): boolean {
    return this.inner.has(job);
  }

  question(job: string): Question | undefined {
    for (const question of this.questions.values()) {
      if (question.job === job && !this.answered.has(question.id)) return question;
    }
    return undefined;
  }

  /** Takes an event of any of these kinds; also those that a session's own view hears. */
  take(event: NEvent): void {
    if (event.kind === kind.action) {
      if (this.handed.has(event.pubkey)) this.takeAction(event);
      else if (this.earlyActions.size < EARLY) this.earlyActions.set(event.pubkey, [...(this.earlyActions.get(event.pubkey) ?? []), event]);
      return;
    }
    if (event.kind === kind.deletion) {
      for (const [, id] of tags(event, "e")) {
        if (id === undefined) continue;
        if (tag(event, "purged") !== undefined && event.pubkey === this.operator) this.purge(id);
        this.withdrawn.set(id, event);
        const job = this.jobs.get(id);
        if (job !== undefined && job.result === undefined) this.judge(job);
      }
      return this.touch();
    }
    if (event.pubkey !== this.coordinator) return;
    if (event.kind === kind.taskJob) return this.takeInner(event);
    const id = value(event, "e");
    if (!isHex(id) || this.purged.has(id)) return;
    if (isPrivate(event)) this.read(event);
    if (!this.jobs.has(id)) {
      // Workspace tasks are answered by the same kinds; only requests that are known, or gone, are jobs.
      this.early.set(id, [...(this.early.get(id) ?? []), event]);
      if (this.loaded.value) this.lookUp();
      return;
    }
    this.takeAnswer(id, event);
  }

  /** Takes a request, also one of our own before the relay has it. */
  takeRequest(event: NEvent): void {
    if (event.pubkey === this.coordinator || this.purged.has(event.id) || this.jobs.get(event.id)?.event !== undefined) return;
    this.oldest = Math.min(this.oldest, event.created_at);
    if (isPrivate(event)) this.read(event);
    this.jobs.set(event.id, {
      id: event.id,
      event,
      inner: undefined,
      at: event.created_at,
      state: "waiting",
      said: undefined,
      saidAt: event.created_at,
      partial: undefined,
      result: undefined,
      endedAt: undefined,
    });
    this.takeEarly(event.id);
    this.touch();
  }

  private takeEarly(id: string): void {
    const early = this.early.get(id) ?? [];
    this.early.delete(id);
    early.sort((a, b) => a.created_at - b.created_at);
    for (const event of early) this.takeAnswer(id, event);
  }

  private takeAnswer(id: string, event: NEvent): void {
    const job = this.jobs.get(id);
    if (job === undefined) return;
    if (RESULTS.includes(event.kind)) {
      job.result = event;
      job.endedAt = event.created_at;
      this.resultOf.set(event.id, id);
    } else {
      const said = feedback(event, this.plain.get(event.id));
      if (said !== undefined) this.hear(job, event, said);
    }
    this.judge(job);
    this.touch();
  }

  private hear(job: KnownJob, event: NEvent, said: Feedback): void {
    if (said.status === "partial") {
      if ((job.partial ?? "").length <= said.content.length) job.partial = said.content;
      return;
    }
    const asked = said.tags.find((tag) => tag[0] === "question")?.[1];
    if (asked !== undefined) {
      const question = questionOf(asked, job.id, said.content || said.sentence, said.tags);
      if (!this.answered.has(asked)) this.questions.set(asked, question);
    }
    const final = said.status === "error" || said.status === "success";
    const before = job.said !== undefined && (job.said.status === "error" || job.said.status === "success");
    // Those of one second may come in any order.
    if (final || (!before && event.created_at >= job.saidAt)) {
      job.said = said;
      job.saidAt = event.created_at;
      if (final) job.endedAt = event.created_at;
    }
  }

  private takeAction(event: NEvent): void {
    const job = value(event, "E");
    const what = label(event);
    if (!isHex(job)) return;
    if (what === "question") {
      // What its owner was told says more than the record of a private job.
      if (!this.answered.has(event.id) && !this.questions.has(event.id)) {
        this.questions.set(event.id, questionOf(event.id, job, event.content || value(event, "alt") || "", event.tags));
      }
    } else if (what === "answer") {
      const question = value(event, "question");
      if (question !== undefined) {
        this.answered.add(question);
        this.questions.delete(question);
      }
    } else if (what === "pause" || what === "resume") {
      const known = this.jobs.get(job);
      if (known !== undefined) {
        this.paused.set(job, what === "pause");
        this.judge(known);
      } else {
        this.paused.set(job, what === "pause");
      }
    }
    const known = this.jobs.get(job);
    if (known !== undefined) this.judge(known);
    this.touch();
  }

  private judge(job: KnownJob): void {
    const said = job.said;
    if (job.result !== undefined || said?.status === "success") job.state = "done";
    else if (said?.status === "error") job.state = said.code === "cancelled" ? "stopped" : "failed";
    else if (this.withdrawn.has(job.id)) job.state = "stopped";
    else if (this.question(job.id) !== undefined) job.state = "asking";
    else if (this.paused.get(job.id) === true) job.state = "paused";
    else if (said !== undefined) job.state = "working";
    else job.state = "waiting";
  }

  /** Requests that are gone: what the session was given stands for them. */
  private lookUp(): void {
    const gone = [...this.early.keys()].filter((id) => !this.lookedUp.has(id));
    for (const id of gone) this.lookedUp.add(id);
    for (let at = 0; at < gone.length; at += 100) {
      void this.lookUpSome(gone.slice(at, at + 100)).catch(() => {
        for (const id of gone) this.lookedUp.delete(id);
      });
    }
  }

  private async lookUpSome(ids: string[]): Promise<void> {
    const found = await this.relay.query([
      { ids, kinds: JOBS },
      { kinds: [kind.taskJob], authors: [this.coordinator], "#E": ids },
    ]);
    for (const event of found) {
      if (event.pubkey !== this.coordinator) this.takeRequest(event);
    }
    for (const event of found.filter((event) => event.pubkey === this.coordinator)) this.takeInner(event);
    for (const id of ids) {
      const inner = this.inner.get(id);
      // An answer to neither a job nor its remains is one to a workspace task.
      if (this.jobs.has(id) || this.purged.has(id)) continue;
      if (inner === undefined) {
        this.early.delete(id);
        continue;
      }
      const session = value(inner, "p");
      if (isHex(session) && this.handed.get(session)?.length === 1) {
        const siblings = await this.relay.query([{ kinds: [kind.taskJob], authors: [this.coordinator], "#p": [session] }]);
        for (const sibling of siblings) this.takeInner(sibling);
      }
      this.jobs.set(id, {
        id,
        event: undefined,
        inner,
        at: inner.created_at,
        state: "stopped",
        said: undefined,
        saidAt: inner.created_at,
        partial: undefined,
        result: undefined,
        endedAt: undefined,
      });
      this.takeEarly(id);
    }
    this.touch();
  }

  /** Forgets a job that was deleted for good, with what was said in it. */
  private purge(id: string): void {
    this.purged.add(id);
    const job = this.jobs.get(id);
    const inner = this.inner.get(id);
    for (const event of [job?.event, job?.result, inner]) {
      if (event !== undefined) this.plain.delete(event.id);
    }
    const session = inner === undefined ? undefined : value(inner, "p");
    for (const known of [this.jobs, this.early, this.inner, this.paused]) known.delete(id);
    for (const question of [...this.questions.values()]) {
      if (question.job === id) this.questions.delete(question.id);
    }
    const left = session === undefined ? [] : (this.handed.get(session) ?? []).filter((other) => other !== id);
    if (session !== undefined && left.length > 0) this.handed.set(session, left);
  }

  private takeInner(inner: NEvent): void {
    const id = value(inner, "E");
    const session = value(inner, "p");
    if (isHex(id) && this.purged.has(id)) return;
    if (!isHex(id) || !isHex(session) || this.inner.get(id)?.id === inner.id) return;
    this.inner.set(id, inner);
    const handed = [...(this.handed.get(session) ?? []), id];
    handed.sort((a, b) => (this.inner.get(a)?.created_at ?? 0) - (this.inner.get(b)?.created_at ?? 0));
    this.handed.set(session, handed);
    this.touch();
    const early = this.earlyActions.get(session) ?? [];
    this.earlyActions.delete(session);
    for (const event of early) this.takeAction(event);
  }

  /** Has an encrypted event read by the program; many at a time. */
  private read(event: NEvent): void {
    if (this.plain.has(event.id) || this.undecrypted.has(event.id)) return;
    if (this.undecrypted.size === 0) setTimeout(() => void this.readAll(), 20);
    this.undecrypted.set(event.id, event);
  }

  private async readAll(): Promise<void> {
    const events = [...this.undecrypted.values()];
    let said: (string | null)[];
    try {
      said = await decrypt(events);
    } catch {
      setTimeout(() => void this.readAll(), 2000);
      return;
    }
    events.forEach((event, at) => {
      this.undecrypted.delete(event.id);
      this.plain.set(event.id, said[at] ?? null);
    });
    if (this.undecrypted.size > 0) setTimeout(() => void this.readAll(), 20);
    for (const event of events) {
      const id = value(event, "e");
      if (event.kind === kind.feedback && isHex(id)) this.takeAnswer(id, event);
    }
    this.touch();
  }

  touch(): void {
    this.waiting ??= setTimeout(() => {
      this.waiting = undefined;
      this.version.value += 1;
    }, 16);
  }
}

function questionOf(id: string, job: string, text: string, said: string[][]): Question {
  const options = said.filter((tag) => tag[0] === "option").map((tag) => ({ id: tag[1] ?? "", kind: tag[2] ?? "", name: tag[3] ?? "" }));
  const until = Number(said.find((tag) => tag[0] === "until")?.[1]);
  return {
    id,
    job,
    text,
    options,
    until: Number.isSafeInteger(until) && until > 0 ? until : undefined,
  };
}
