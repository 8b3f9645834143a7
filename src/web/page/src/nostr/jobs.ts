// How the page asks for something: jobs (nips/90.md) and workspace tasks (nips/workspace.md), as the command line does.

import { type Draft, decrypt, sign } from "./api";
import { isPrivate, kind, type NEvent, tags, value } from "./records";
import type { Relay } from "./relay";

/** A file that was kept by `PUT /api/files`. */
export interface Attachment {
  sha256: string;
  name: string;
}

/** What a person asks for. */
export interface Question {
  text: string;
  /** Works on files: an agent task, otherwise text. */
  task: boolean;
  agent?: string | undefined;
  model?: string | undefined;
  /** Absolute path of the folder that the agent gets a copy of. */
  folder?: string | undefined;
  files: Attachment[];
  /** Nothing of it is readable by others. */
  hidden: boolean;
  /** The agent asks before it acts. */
  ask: boolean;
  /** What it may reach on the network, a rule each; nothing when there is none. */
  network: string[];
  /** Commands that are run on the result. */
  checks: string[];
  /** The result, or the request, that this goes on from. */
  after?: string | undefined;
}

/** The job as an event, before it is signed; `more` tags stand where its others do. */
export function draft(question: Question, coordinator: string, more: string[][] = []): Draft {
  const said: string[][] = [["i", question.text, "text"]];
  for (const file of question.files) said.push(["i", file.sha256, "blob", "", file.name]);
  const param = (name: string, value: string | undefined): void => {
    if (value !== undefined && value !== "") said.push(["param", name, value]);
  };
  param("agent", question.agent);
  param("model", question.model);
  param("workspace", question.folder);
  param("permissions", question.ask ? "ask" : undefined);
  if (question.network.length > 0) said.push(["param", "network", ...question.network]);
  for (const check of question.checks) param("check", check);
  said.push(["output", "text/markdown"]);
  if (question.after !== undefined) said.push(["e", question.after]);
  said.push(...more);
  const number = question.task ? kind.taskJob : kind.chatJob;
  if (question.hidden) return { kind: number, tags: [], content: "", hidden: said };
  // The same question twice in one second is two questions.
  const moment = `${Date.now()}${String(performance.now()).replace(".", "")}`;
  return { kind: number, tags: [...said, ["p", coordinator], ["moment", moment]], content: "" };
}

/** Withdraws a job. */
export async function cancel(relay: Relay, job: NEvent, coordinator: string): Promise<void> {
  const tags = [
    ["e", job.id],
    ["k", String(job.kind)],
    ["p", coordinator],
  ];
  await relay.publish(await sign({ kind: kind.deletion, tags, content: "" }));
}

/** A task or job ended without an answer; the sentence is for people, the code for programs. */
export class TaskError extends Error {
  constructor(
    sentence: string,
    readonly code: string,
  ) {
    super(sentence);
  }
}

/** What a 7000 says. */
export interface Feedback {
  status: string;
  sentence: string;
  code: string | undefined;
  content: string;
  tags: string[][];
}

/** Reads a 7000; `plain` is its content when it was encrypted. */
export function feedback(event: NEvent, plain?: string | null): Feedback | undefined {
  let said = event.tags;
  let content = event.content;
  if (isPrivate(event)) {
    said = hiddenTags(plain) ?? [];
    content = said.find((tag) => tag[0] === "content")?.[1] ?? "";
  }
  const status = said.find((tag) => tag[0] === "status");
  if (status?.[1] === undefined) return undefined;
  const code = said.find((tag) => tag[0] === "code")?.[1];
  return { status: status[1], sentence: status[2] ?? "", code, content, tags: said };
}

/** The tags in what was decrypted; nothing when it is no array of arrays of strings. */
export function hiddenTags(plain: string | null | undefined): string[][] | undefined {
  if (plain === null || plain === undefined) return undefined;
  try {
    const parsed: unknown = JSON.parse(plain);
    const isTag = (tag: unknown): tag is string[] => Array.isArray(tag) && tag.every((part) => typeof part === "string");
    return Array.isArray(parsed) && parsed.every(isTag) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

/** How long a task may take before the page stops waiting for its answer. */
const PATIENCE = 600_000;

/** Asks for a workspace task and waits for its answer. Always encrypted: which copies are private is for their owner to know. */
export async function task<T>(
  relay: Relay,
  coordinator: string,
  word: string,
  params: Record<string, string | number | undefined>,
  more: string[][] = [],
): Promise<T> {
  const hidden: string[][] = [["i", word, "text"], ...more];
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined) hidden.push(["param", name, String(value)]);
  }
  hidden.push(["output", "application/json"]);
  const job = await sign({ kind: kind.workspaceTask, tags: [["alt", "Workspace task"]], content: "", hidden });
  return await new Promise<T>((resolve, reject) => {
    const end = (finish: () => void): void => {
      clearTimeout(timer);
      listening.close();
      finish();
    };
    const fail = (error: unknown): void => end(() => reject(error instanceof Error ? error : new Error(String(error))));
    const timer = setTimeout(() => fail(new TaskError("", "timeout")), PATIENCE);
    const listening = relay.listen({
      filters: [{ kinds: [kind.feedback, kind.workspaceResult], authors: [coordinator], "#e": [job.id] }],
      onevent: (event) => {
        void hear(event).catch(fail);
      },
      onrefused: (reason) => fail(new TaskError(reason, "relay")),
    });
    const hear = async (event: NEvent): Promise<void> => {
      const [plain] = isPrivate(event) ? await decrypt([event]) : [event.content];
      if (event.kind === kind.workspaceResult) {
        const answer = JSON.parse(plain ?? "") as T;
        end(() => resolve(answer));
        return;
      }
      const said = feedback(event, plain);
      if (said?.status === "error") fail(new TaskError(said.sentence, said.code ?? ""));
    };
    relay.publish(job).catch(fail);
  });
}

/** What a job asks for: its text inputs. `plain` is its content when it was encrypted; undefined when that is unknown. */
export function prompt(job: NEvent, plain?: string | null): string | undefined {
  const said = isPrivate(job) ? hiddenTags(plain) : job.tags;
  if (said === undefined) return undefined;
  const inputs = said.filter((tag) => tag[0] === "i" && !["job", "event", "url", "blob"].includes(tag[2] ?? ""));
  const text = inputs.map((tag) => tag[1] ?? "").join("\n");
  return text === "" && !isPrivate(job) ? job.content : text;
}

/** The job that an answer is about. */
export function jobOf(event: NEvent): string | undefined {
  return value(event, "e");
}

/** The files that were given to a job: name and hash. */
export function attachments(said: string[][]): Attachment[] {
  const blobs = said.filter((tag) => tag[0] === "i" && tag[2] === "blob");
  return blobs.map((tag) => ({ sha256: tag[1] ?? "", name: tag[4] ?? "" }));
}

/** All that the tag of a request says, whether it is encrypted or not. */
export function requestTags(job: NEvent, plain?: string | null): string[][] {
  return isPrivate(job) ? (hiddenTags(plain) ?? []) : job.tags;
}

/** The keys that a job was handed to. */
export function handedTo(inner: NEvent): string[] {
  return tags(inner, "p").flatMap((tag) => tag[1] ?? []);
}
