// Asking: signs a question as a job, shows it at once, and sends it.

import { sign } from "../nostr/api";
import { draft, type Question } from "../nostr/jobs";
import { me, store } from "./state";

/** The job's id, once it is signed. From then on it is kept until the relay has it. */
export async function ask(question: Question, failed: (error: unknown) => void): Promise<string> {
  const known = store.value;
  const coordinator = me.value?.coordinator;
  if (known === undefined || coordinator === undefined) throw new Error();
  const event = await sign(draft(question, coordinator));
  known.takeRequest(event);
  known.relay.publish(event).catch(failed);
  return event.id;
}
