// What the side shows: conversations, the last one first; those that were asked the same at once are one.

import { isMine } from "./Compare";
import { type Conversation, isUnmet, type JobState } from "./conversations";
import type { Route } from "./route";
import { hrefs } from "./route";

/** One line of it. */
export interface Recent {
  /** The one whose standing counts for all of them. */
  conversation: Conversation;
  all: Conversation[];
  href: string;
}

/** Whose standing counts for those beside it, first to last: one that needs its owner, one at work, one that did well. */
const ORDER: JobState[] = ["asking", "working", "paused", "waiting", "done", "failed", "stopped"];

const rank = (one: Conversation): number => ORDER.indexOf(one.state) + (isUnmet(one) ? 0.5 : 0);

/** The newest ones. */
export function recent(conversations: Conversation[], most: number): Recent[] {
  const found = new Map<string, Conversation[]>();
  for (const one of conversations) {
    const together = one.comparison !== undefined && isMine(one) ? `=${one.comparison.id}` : one.id;
    const known = found.get(together);
    if (known !== undefined) known.push(one);
    else if (found.size < most) found.set(together, [one]);
  }
  return [...found.values()].flatMap((all) => {
    const [conversation] = [...all].sort((a, b) => rank(a) - rank(b));
    if (conversation === undefined) return [];
    const href = all.length > 1 && conversation.comparison !== undefined ? hrefs.comparison(conversation.comparison.id) : hrefs.session(conversation.id);
    return [{ conversation, all, href }];
  });
}

/** Whether it is what is looked at. */
export function isHere({ conversation, all }: Recent, at: Route): boolean {
  if (at.view === "compare") return all.length > 1 && at.comparison !== undefined && conversation.comparison?.id === at.comparison;
  return at.view === "session" && all.some((one) => one.jobs.some((job) => job.id === at.id));
}
