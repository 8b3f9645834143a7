// Jobs that go on from each other, as the conversations that a person had.

import { type Comparison, comparisonOf } from "../nostr/comparison";
import { type Feedback, prompt, requestTags } from "../nostr/jobs";
import { allParams, isPrivate, kind, type NEvent, params, tag, tags as tagsOf, value } from "../nostr/records";

/** How a job stands. */
export type JobState = "waiting" | "working" | "asking" | "paused" | "done" | "failed" | "stopped";

/** A question of an agent that its owner has not answered. */
export interface Question {
  id: string;
  job: string;
  text: string;
  options: { id: string; kind: string; name: string }[];
  /** When time answers it, in Unix seconds. */
  until: number | undefined;
}

/** A command that was run on the result. */
export interface Check {
  command: string;
  /** Its exit code, or why it has none. */
  exit: number | "timeout" | "error";
}

/** One job, as events tell of it. */
export interface KnownJob {
  id: string;
  /** The request; missing when its owner withdrew it. */
  event: NEvent | undefined;
  /** What the session was given, for a request that is gone. */
  inner: NEvent | undefined;
  at: number;
  state: JobState;
  /** What was last said about it. */
  said: Feedback | undefined;
  saidAt: number;
  /** The text so far, as the coordinator repeats it now and then. */
  partial: string | undefined;
  result: NEvent | undefined;
  endedAt: number | undefined;
}

/** One job, with what its tags say. */
export interface Job extends KnownJob, Standing {
  /** What it may reach on the network. */
  network: string[];
  /** Commands that are to be run on its result. */
  toCheck: string[];
}

/** How a job stands, and what its result says of how it ended. */
export interface Standing {
  state: JobState;
  /** What its result was checked with. */
  checks: Check[];
  /** The exit code of a command that was all of the job. */
  exit: number | undefined;
}

/** Checks that failed. */
export const unmet = (checks: Check[]): Check[] => checks.filter((check) => check.exit !== 0);

/** Whether a job is done, and not well: a check failed, or the command that it was. */
export const isUnmet = ({ state, checks, exit }: Standing): boolean => state === "done" && (unmet(checks).length > 0 || (exit ?? 0) !== 0);

/** Jobs that go on from each other. */
export interface Conversation extends Standing {
  /** The first job's id, by which it is known. */
  id: string;
  jobs: Job[];
  title: string;
  project: string | undefined;
  agent: string | undefined;
  model: string | undefined;
  hidden: boolean;
  task: boolean;
  /** When anything was last heard of it. */
  at: number;
  question: Question | undefined;
  /** Which of several it is that were asked the same. */
  comparison: Comparison | undefined;
}

/** What conversations are made of. */
export interface Known {
  jobs: ReadonlyMap<string, KnownJob>;
  /** What encrypted events say. */
  plain: ReadonlyMap<string, string | null>;
  /** Each result's job. */
  resultOf: ReadonlyMap<string, string>;
  /** The jobs that were handed to each session, in order. */
  handed: ReadonlyMap<string, string[]>;
  question: (job: string) => Question | undefined;
}

/** Whether a job goes on. */
export function isOpen(state: JobState): boolean {
  return state === "waiting" || state === "working" || state === "asking" || state === "paused";
}

/** All jobs, those that go on from each other together, the last one heard of first. */
export function grouped(known: Known): Conversation[] {
  const root = (job: KnownJob): string => {
    let at: KnownJob = job;
    for (const seen = new Set<string>([job.id]); ; ) {
      const earlier = before(known, at);
      if (earlier === undefined || seen.has(earlier.id)) return at.id;
      seen.add(earlier.id);
      at = earlier;
    }
  };
  const groups = new Map<string, KnownJob[]>();
  for (const job of known.jobs.values()) {
    const id = root(job);
    const group = groups.get(id);
    if (group === undefined) groups.set(id, [job]);
    else group.push(job);
  }
  // Views draw again what is another object.
  const made = [...groups.entries()].map(([id, jobs]) => describe(known, id, jobs.map((job) => told(known, job))));
  return made.sort((a, b) => b.at - a.at || (a.id < b.id ? -1 : 1));
}

/** What a request says; of one that was withdrawn the inner job tells. */
const asked = (known: Known, job: KnownJob): string[][] => (job.event === undefined ? (job.inner?.tags ?? []) : requestTags(job.event, known.plain.get(job.id)));

/** A job that views show. */
function told(known: Known, job: KnownJob): Job {
  const said = asked(known, job);
  const toCheck = allParams(said, "check");
  const { result } = job;
  const done = result === undefined ? [] : tagsOf(result, "check");
  const checks = done.map(([, command, exit = ""], at): Check => ({
    // The result of a private job does not say what was run.
    command: command || (result !== undefined && isPrivate(result) ? toCheck[at] : undefined) || "",
    exit: code(exit) ?? (exit === "timeout" ? "timeout" : "error"),
  }));
  const exit = result === undefined ? undefined : code(value(result, "exit"));
  return { ...job, network: allParams(said, "network"), toCheck, checks, exit };
}

/** An exit code. */
const code = (text: string | undefined): number | undefined => (/^-?\d{1,9}$/.test(text ?? "") ? Number(text) : undefined);

function before(known: Known, job: KnownJob): KnownJob | undefined {
  if (job.event === undefined) {
    const session = job.inner === undefined ? undefined : value(job.inner, "p");
    const siblings = session === undefined ? undefined : known.handed.get(session);
    const at = siblings?.indexOf(job.id) ?? -1;
    const id = at > 0 ? siblings?.[at - 1] : undefined;
    return id === undefined ? undefined : known.jobs.get(id);
  }
  for (const [name, id] of requestTags(job.event, known.plain.get(job.id))) {
    if (name !== "e" || id === undefined) continue;
    const earlier = known.jobs.get(known.resultOf.get(id) ?? id);
    if (earlier !== undefined) return earlier;
  }
  return undefined;
}

function describe(known: Known, id: string, jobs: Job[]): Conversation {
  jobs.sort((a, b) => a.at - b.at || (a.id === id ? -1 : b.id === id ? 1 : 0));
  const said = jobs.map((job) => asked(known, job));
  const last = <T>(read: (tags: string[][]) => T | undefined): T | undefined =>
    said.reduce<T | undefined>((found, tags) => read(tags) ?? found, undefined);
  const first = jobs[0];
  const newest = jobs.at(-1);
  const source = first?.event ?? first?.inner;
  return {
    id,
    jobs,
    title: source === undefined ? "" : (prompt(source, known.plain.get(source.id)) ?? ""),
    project: last((tags) => params(tags, "workspace")),
    agent: last((tags) => params(tags, "agent")),
    model: last((tags) => params(tags, "model")),
    hidden: jobs.some((job) => tag((job.event ?? job.inner) as NEvent, "encrypted") !== undefined),
    task: jobs.some((job) => job.event?.kind === kind.taskJob),
    at: Math.max(...jobs.map((job) => job.endedAt ?? job.saidAt)),
    state: newest?.state ?? "waiting",
    checks: newest?.checks ?? [],
    exit: newest?.exit,
    question: newest === undefined ? undefined : known.question(newest.id),
    comparison: comparisonOf(said[0] ?? []),
  };
}
