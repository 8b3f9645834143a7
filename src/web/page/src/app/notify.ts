// Says outside of the page that something is done, or asks: in its title, and by the browser if its owner wants that.

import { effect, signal } from "@preact/signals";

import { words } from "../words/app";
import { isOpen, isUnmet, type JobState } from "./conversations";
import { preference } from "./keep";
import { hrefs, route } from "./route";
import { titleOf } from "./Sessions";
import { announcement, conversations, door, store } from "./state";

const wanted = preference("notify");
export const denied = signal(false);

export const notifies = (): boolean => wanted.value === "yes" && "Notification" in globalThis && Notification.permission === "granted";
export const canNotify = (): boolean => "Notification" in globalThis;

/** Turns it on, which is when the browser asks, or off. */
export async function turn(on: boolean): Promise<void> {
  denied.value = false;
  if (!on) {
    wanted.value = "";
    return;
  }
  const permission = await Notification.requestPermission();
  if (permission === "granted") wanted.value = "yes";
  else denied.value = true;
}

/** Watches all conversations for as long as the page lives. */
export function watch(): void {
  const before = new Map<string, JobState>();
  effect(() => {
    const known = conversations.value;
    let asking = 0;
    let working = 0;
    for (const conversation of known) {
      const was = before.get(conversation.id);
      before.set(conversation.id, conversation.state);
      asking += conversation.state === "asking" ? 1 : 0;
      working += isOpen(conversation.state) ? 1 : 0;
      if (was === undefined || was === conversation.state || store.value?.loaded.peek() !== true) continue;
      const title = conversation.hidden ? words.session.private : titleOf(conversation);
      const failed = isUnmet(conversation);
      const said = failed ? words.checks.announce : words.session.announce[conversation.state];
      if (said !== undefined) announcement.value = `${said} ${title}`;
      const state = conversation.state;
      if ((state === "done" || state === "asking" || state === "failed") && document.visibilityState === "hidden") {
        tell(failed ? words.checks.notice : words.notice[state], title, conversation.id);
      }
    }
    const mark = asking > 0 ? `● ${words.session.states["asking"]} – ` : working > 0 ? "… " : "";
    const view = viewTitle();
    document.title = `${mark}${view === "" ? "" : `${view} – `}${words.name}`;
  });
}

/** What the view that is shown is called. */
function viewTitle(): string {
  const at = route.value;
  if (door.value !== "open") return "";
  if (at.view === "sessions") return words.sessions.title;
  if (at.view === "touch") return words.touch.title;
  if (at.view === "compare") return words.compare.title;
  if (at.view === "start") return "";
  const shown = conversations.value.find((conversation) => conversation.jobs.some((job) => job.id === at.id));
  return shown === undefined ? "" : titleOf(shown).slice(0, 60);
}

function tell(title: string, body: string, id: string): void {
  if (!notifies()) return;
  const notice = new Notification(title, { body, tag: id, icon: "/icon.svg" });
  notice.onclick = () => {
    focus();
    location.hash = hrefs.session(id);
    notice.close();
  };
}
