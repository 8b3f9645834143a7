// The whole session in one strip: a bar for each step, or for several where there are many, by what they were.

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";

import { Sort, type SortName, type Story } from "../story/model";
import { clock, words } from "../words/story";

/** Bars that a strip has at most. */
const BARS = 240;
/** What counts most where a bar stands for several steps. */
const RANK: SortName[] = ["problems", "files", "commands", "talk", "points", "model"];
const TALL: Record<SortName, number> = { problems: 1, files: 0.9, commands: 0.75, talk: 1, points: 0.45, model: 0.3 };

interface Bar {
  sort: SortName;
  /** Id of the event to go to. */
  id: string;
  title: string;
}

export function SessionMap({ story, go }: { story: Story; go: (id: string) => void }): JSX.Element | null {
  const bars = useMemo(() => read(story), [story]);
  if (bars.length < 4) return null;
  return (
    <figure class="h-map">
      <div class="h-bars" role="group" aria-label={words.share.map}>
        {bars.map((bar, n) => (
          <button
            type="button"
            key={n}
            tabIndex={-1}
            aria-hidden="true"
            class={`h-bar ${bar.sort}`}
            style={{ "--tall": String(TALL[bar.sort]) }}
            title={bar.title}
            onClick={() => go(bar.id)}
          />
        ))}
      </div>
      <figcaption>
        {RANK.filter((sort) => bars.some((bar) => bar.sort === sort)).map((sort) => (
          <span class={sort}>
            <i />
            {words.sorts[sort]}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

function read(story: Story): Bar[] {
  const items = story.items.filter((item) => item.sorts !== 0);
  const each = Math.max(1, Math.ceil(items.length / BARS));
  const began = story.event(story.start)?.created_at ?? 0;
  const bars: Bar[] = [];
  for (let at = 0; at < items.length; at += each) {
    const part = items.slice(at, at + each);
    for (const sort of RANK) {
      const item = part.find((item) => (item.sorts & Sort[sort]) !== 0);
      const event = item === undefined ? undefined : story.event(item.at);
      if (event === undefined) continue;
      bars.push({ sort, id: event.id, title: words.share.mapStep(words.sorts[sort], clock(event.created_at - began)) });
      break;
    }
  }
  return bars;
}
