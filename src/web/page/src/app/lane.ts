// One of those who are compared, while it is looked at.

import { signal } from "@preact/signals";

import { isPrivate, kind, label, type NEvent, tags } from "../nostr/records";
import type { DiffAnswer } from "../nostr/workspace";
import { line } from "../story/text";
import { agentNamed, agentTitle } from "./choice";
import { isOpen, type Job } from "./conversations";
import { Feed } from "./feed";
import { now } from "./state";
import type { Store } from "./store";
import * as tasks from "./tasks";
import { sentence } from "./ui";

/** The last steps that are shown while it works. */
const LATEST = 4;

/** A command that was run on the result. */
export interface Check {
  command: string;
  /** Missing when it did not run. */
  exit: number | undefined;
}

export class Lane {
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

  /** Who it is. */
  get title(): string {
    return agentTitle(this.feed.conversation.value?.agent);
  }

  get model(): string {
    const used = this.feed.used.value.model;
    return line((used === "none" ? undefined : used) ?? this.feed.conversation.value?.model ?? "", 60);
  }

  /** Seconds that it took, or has taken so far. */
  get seconds(): number {
    const { job } = this;
    if (job === undefined) return 0;
    return Math.max(0, (this.working ? now.value : (job.endedAt ?? job.saidAt)) - job.at);
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
    const result = this.job?.result;
    if (result === undefined) return [];
    return tags(result, "check").map(([, command, exit]) => ({
      command: line(command ?? "", 200),
      exit: /^-?\d{1,9}$/.test(exit ?? "") ? Number(exit) : undefined,
    }));
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
