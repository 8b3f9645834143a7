// One of those who are compared, while it is looked at.

import { signal } from "@preact/signals";

import { isPrivate, kind, label, type NEvent, value } from "../nostr/records";
import type { DiffAnswer } from "../nostr/workspace";
import { line } from "../story/text";
import { agentNamed, agentTitle } from "./choice";
import { type Check, isOpen, type Job, type JobState, type Standing } from "./conversations";
import { Feed } from "./feed";
import { waitsForTurn } from "./Progress";
import { now, status } from "./state";
import type { Store } from "./store";
import * as tasks from "./tasks";
import { sentence } from "./ui";

/** The last steps that are shown while it works. */
const LATEST = 4;

export class Lane implements Standing {
  readonly feed: Feed;
  /** What changed in its copy, once it is over. */
  readonly diff = signal<DiffAnswer | undefined>(undefined);
  readonly problem = signal("");

  constructor(
    readonly id: string,
    private readonly known: Store,
  ) {
    this.feed = new Feed(id, known);
  }

  get job(): Job | undefined {
    return this.feed.conversation.value?.jobs.at(-1);
  }

  get working(): boolean {
    const { job } = this;
    return job !== undefined && isOpen(job.state);
  }

  /** How it stands; who waits for a turn does nothing yet. */
  get state(): JobState {
    const { job } = this;
    if (job === undefined) return "waiting";
    return waitsForTurn(job) ? "waiting" : job.state;
  }

  /** Who it is. */
  get title(): string {
    return agentTitle(this.feed.conversation.value?.agent);
  }

  get model(): string {
    const used = this.feed.used.value.model;
    const { agent, model } = this.feed.conversation.value ?? {};
    const usual = this.working && agentNamed(agent ?? "")?.command !== true ? status.value?.default_model : undefined;
    return line((used === "none" ? undefined : used) ?? model ?? usual ?? "", 60);
  }

  /** Seconds that it took, or has taken so far, since it was its turn. */
  get seconds(): number {
    const { job } = this;
    if (job === undefined || this.state === "waiting") return 0;
    const began = this.feed.events.value.findLast((event) => event.kind === kind.start)?.created_at ?? job.at;
    return Math.max(0, (this.working ? now.value : (job.endedAt ?? job.saidAt)) - Math.max(began, job.at));
  }

  get said(): string {
    const result = this.job?.result;
    if (result !== undefined) return isPrivate(result) ? (this.known.plain.get(result.id) ?? "") : result.content;
    const message = this.feed.events.value.findLast((event) => event.kind === kind.action && label(event) === "message");
    return this.feed.live.value || (message?.content ?? "");
  }

  /** What it did last, oldest first. */
  get latest(): NEvent[] {
    const steps = this.feed.events.value.filter((event) => (event.kind === kind.action && label(event) !== "model") || event.kind === kind.error);
    return steps.slice(-LATEST);
  }

  get checks(): Check[] {
    return this.job?.checks ?? [];
  }

  get exit(): number | undefined {
    return this.job?.exit;
  }

  /** What its files are in the end, or else its answer: two that are equal came to the same. */
  get outcome(): string {
    const last = this.feed.events.value.findLast((event) => event.kind === kind.checkpoint);
    return (last === undefined ? undefined : value(last, "tree")) ?? this.said.trim();
  }

  /** Whether it works on files. */
  get onFiles(): boolean {
    const conversation = this.feed.conversation.value;
    return conversation?.task === true && agentNamed(conversation.agent ?? "")?.workspace !== false;
  }

  /** Looks at what changed, from how it began, whatever was applied since. */
  look(session: string): void {
    tasks.diff(session, 1).then(
      (found) => (this.diff.value = found),
      (error: unknown) => (this.problem.value = sentence(error)),
    );
  }

  close(): void {
    this.feed.close();
  }
}
