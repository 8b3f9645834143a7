// Asking: signs a question as a job, shows it at once, and sends it.

import { sign } from "../nostr/api";
import { type Comparison, opening, randomId, tagsOf } from "../nostr/comparison";
import { draft, type Question } from "../nostr/jobs";
import { tell } from "./race";
import { me, store } from "./state";

/** The job's id, once it is signed. From then on it is kept until the relay has it. */
export async function ask(question: Question, failed: (error: unknown) => void, tags: string[][] = []): Promise<string> {
  const known = store.value;
  const coordinator = me.value?.coordinator;
  if (known === undefined || coordinator === undefined) throw new Error();
  const event = await sign(draft(question, coordinator, tags));
  known.takeRequest(event);
  known.relay.publish(event).catch(failed);
  return event.id;
}

/** Asks several the same, who are named as people call them; returns what ties their jobs together. */
export async function askSeveral(questions: Question[], names: string[], failed: (error: unknown) => void): Promise<string> {
  const known = store.value;
  const we = me.value;
  if (known === undefined || we === undefined) throw new Error();
  // Nothing is said of what is private.
  const hidden = questions.some((question) => question.hidden);
  const note = hidden ? undefined : await sign(opening(questions[0]?.text ?? "", names, we.coordinator));
  if (note !== undefined) known.relay.publish(note).catch(failed);
  const id = note?.id ?? randomId();
  const of = questions.length;
  const jobs: string[] = [];
  for (const [at, question] of questions.entries()) {
    const one: Comparison = { id, n: at + 1, of };
    const tags = note === undefined ? tagsOf(one) : tagsOf(one, { relay: we.relay, customer: note.pubkey });
    jobs.push(await ask(question, failed, tags));
  }
  if (note !== undefined) tell(note, jobs, names);
  return id;
}
