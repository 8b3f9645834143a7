// Where a job is, honestly: what it does or waits for, how long, how much.

import { type NEvent, value } from "../nostr/records";
import { line } from "../story/text";
import { words } from "../words/app";
import { clock, dollars, short } from "../words/story";
import { agentNamed } from "./choice";
import { isOpen, type Job, type Standing } from "./conversations";
import type { Feed } from "./feed";
import { conversations, me, now, status, store } from "./state";

/** A record in one line, as every client can show it. */
export const step = (event: NEvent): string => line(value(event, "alt") ?? event.content, 160);

/** Seconds after which a start that takes long may be one that waits for its turn. */
const QUEUE = 5;

/** Whether a job waits until another one has ended. */
export function waitsForTurn(job: Job): boolean {
  const known = store.value;
  const atOnce = me.value?.at_once;
  if (known === undefined || atOnce === undefined || !isOpen(job.state) || known.began(job.id)) return false;
  const others = conversations.value.filter((other) => other.jobs.some((one) => one.id !== job.id && isOpen(one.state) && known.began(one.id)));
  return others.length >= atOnce;
}

/** How it stands for who looks at it: who waits for a turn does nothing yet. */
export const stands = <Of extends Standing>(of: Of, job: Job | undefined): Standing => (job !== undefined && waitsForTurn(job) ? { ...of, state: "waiting" } : of);

/** How many wait for a turn that were asked before. */
function ahead(job: Job): number {
  const waiting = conversations.value.flatMap(({ jobs, comparison }) => jobs.filter(waitsForTurn).map((one) => ({ id: one.id, at: one.at, n: comparison?.n ?? 0 })));
  // What was asked in one second at once was asked in the order of its numbers.
  waiting.sort((a, b) => a.at - b.at || a.n - b.n || (a.id < b.id ? -1 : 1));
  return Math.max(0, waiting.findIndex((one) => one.id === job.id));
}

/** What happens right now, in a few words. */
export function doing(feed: Feed, job: Job): string {
  if (store.value?.relay.state.value === "lost" && store.value.relay.unsent.value === 0) return words.lost.short;
  if (job.state === "paused") return words.session.states["paused"] ?? "";
  if (job.state === "asking") return words.session.asks;
  if (job.state === "waiting") return store.value?.relay.unsent.value ? words.session.unsent : words.session.waitingFor;
  if (feed.live.value !== "") return words.session.working;
  const last = feed.step.value;
  const said = job.said;
  const news = said?.status === "processing" && !["", "accepted", "starting"].includes(said.sentence) ? said.sentence : "";
  // What was said later counts: a model that is loaded, an image that is made.
  if (news !== "" && (last === undefined || job.saidAt >= last.created_at)) return line(news.charAt(0).toUpperCase() + news.slice(1), 200);
  if (last === undefined && waitsForTurn(job)) return words.session.turn(me.value?.at_once ?? 1, ahead(job));
  if (last === undefined) {
    const others = conversations.value.some((other) => isOpen(other.state) && !other.jobs.some((one) => one.id === job.id));
    return others && now.value - job.at > QUEUE ? words.session.queued : words.session.starting;
  }
  return last.kind === 4781 || last.kind === 4783 ? words.session.thinking : step(last);
}

export function Progress({ feed }: { feed: Feed }) {
  const conversation = feed.conversation.value;
  const job = conversation?.jobs.at(-1);
  if (conversation === undefined || job === undefined) return null;
  const open = isOpen(job.state);
  const used = feed.used.value;
  const waits = waitsForTurn(job);
  // As with what it took besides, all that was asked counts.
  const seconds = conversation.jobs.reduce((sum, one) => sum + Math.max(0, (isOpen(one.state) ? now.value : (one.endedAt ?? one.saidAt)) - one.at), 0);
  return (
    <div class={`progress ${waits ? "waiting" : job.state}`}>
      {open && (
        <span class="doing">
          <i aria-hidden="true" />
          <span>{doing(feed, job)}</span>
        </span>
      )}
      <dl>
        {!waits && (
          <div>
            <dt>{words.session.elapsed}</dt>
            <dd>{clock(seconds)}</dd>
          </div>
        )}
        {used.read + used.written > 0 && (
          <div title={words.session.tokensOf(used.read, used.written)}>
            <dt>{words.session.tokens}</dt>
            <dd>{short(used.read + used.written)}</dd>
          </div>
        )}
        {used.microusd > 0 && (
          <div>
            <dt>{words.session.cost}</dt>
            <dd>{dollars(used.microusd)}</dd>
          </div>
        )}
        {used.model !== undefined && used.model !== "none" && (
          <div class="model">
            <dt>{words.session.model}</dt>
            <dd>{line(used.model, 40)}</dd>
          </div>
        )}
        {used.model === undefined && conversation.model === undefined && open && agentNamed(conversation.agent ?? "")?.command !== true && status.value?.default_model && (
          <div class="model">
            <dt>{words.session.model}</dt>
            <dd>{line(status.value.default_model, 40)}</dd>
          </div>
        )}
      </dl>
    </div>
  );
}
