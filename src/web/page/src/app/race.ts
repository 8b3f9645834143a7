// What other clients show of a comparison that was asked here: a note as each begins, and one with what came of it.

import { effect } from "@preact/signals";
import { neventEncode } from "nostr-tools/nip19";

import { sign } from "../nostr/api";
import { reply } from "../nostr/comparison";
import { kind, type NEvent, value } from "../nostr/records";
import { line } from "../story/text";
import { clock, dollars, tokens } from "../words/story";
import { isOpen, unmet } from "./conversations";
import { Feed } from "./feed";
import { me, store } from "./state";

const SYMBOLS: Record<string, string> = { done: "✅", failed: "❌", stopped: "✋" };

/** Tells it as long as this tab is open. */
export function tell(root: NEvent, jobs: string[], names: string[]): void {
  const known = store.value;
  const we = me.value;
  if (known === undefined || we === undefined) return;
  const say = async (content: string, quoted?: NEvent): Promise<void> => {
    // A note that is missing ends nothing.
    await sign(reply(root, we.relay, content, quoted)).then((note) => known.relay.publish(note)).catch(() => {});
  };
  const begun = new Set<string>();
  const listening = known.relay.listen({
    filters: [{ kinds: [kind.note], authors: [we.coordinator], "#q": jobs }],
    onevent: (note) => {
      const at = jobs.indexOf(value(note, "q") ?? "");
      if (at < 0 || begun.has(jobs[at] ?? "")) return;
      begun.add(jobs[at] ?? "");
      const address = neventEncode({ id: note.id, author: note.pubkey, relays: [we.relay] });
      void say(`${at + 1}. ${names[at] ?? ""} is on it.\n\nnostr:${address}`, note);
    },
  });
  const feeds = jobs.map((id) => new Feed(id, known));
  const stop = effect(() => {
    const done = feeds.map((feed) => feed.conversation.value?.jobs[0]);
    if (done.some((job) => job === undefined || isOpen(job.state))) return;
    queueMicrotask(() => {
      stop();
      listening.close();
      // The last figures of a job come with its end.
      setTimeout(() => {
        void say(closing(feeds, names));
        for (const feed of feeds) feed.close();
      }, 500);
    });
  });
}

function closing(feeds: Feed[], names: string[]): string {
  const rows = feeds.map((feed, at) => {
    const job = feed.conversation.value?.jobs[0];
    const used = feed.used.value;
    const said: string[] = [];
    if (job !== undefined) said.push(clock((job.endedAt ?? job.saidAt) - job.at));
    if (job?.state === "failed") said.unshift(line(job.said?.sentence ?? "", 200));
    if (used.calls > 0) said.push(tokens(used.read + used.written));
    if (used.microusd > 0 && !used.unpriced) said.push(dollars(used.microusd));
    const checks = job?.checks ?? [];
    if (checks.length > 0) said.push(`checks passed: ${checks.length - unmet(checks).length} of ${checks.length}`);
    return `${SYMBOLS[job?.state ?? ""] ?? "⏳"} ${at + 1}. ${names[at] ?? ""}: ${said.filter((part) => part !== "").join(", ")}`;
  });
  const done = feeds.filter((feed) => feed.conversation.value?.jobs[0]?.state === "done").length;
  return `🏁 ${done} of ${feeds.length} done\n\n${rows.join("\n")}`;
}
