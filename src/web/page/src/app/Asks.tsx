// A question of an agent, where its owner cannot miss it.

import { useSignal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";

import { visible } from "../story/text";
import { words } from "../words/app";
import { clock, words as story } from "../words/story";
import type { Question } from "./conversations";
import { onKeys } from "./keys";
import { now } from "./state";
import * as tasks from "./tasks";
import { Button, Problem, sentence } from "./ui";

export function Asks({ question }: { question: Question }) {
  const sent = useSignal("");
  const problem = useSignal("");
  const card = useRef<HTMLElement>(null);
  const [title, text] = [`${useId()}-title`, `${useId()}-text`];
  const answer = (option: string): void => {
    if (sent.value !== "") return;
    sent.value = option;
    problem.value = "";
    tasks.answer(question.id, option).catch((error: unknown) => {
      problem.value = sentence(error);
      sent.value = "";
    });
  };
  useEffect(
    () =>
      onKeys((event) => {
        const option = question.options[Number(event.key) - 1];
        if (!/^[1-9]$/.test(event.key) || option === undefined) return false;
        // Where several ask, a number is for the one that has the focus.
        const alone = document.querySelectorAll(".asks").length === 1;
        if (!alone && card.current?.contains(document.activeElement) !== true) return false;
        answer(option.id);
        return true;
      }),
    [question.id],
  );
  return (
    <section class="asks" ref={card} aria-labelledby={title} role="alertdialog" aria-describedby={text}>
      <h2 id={title}>{words.session.asks}</h2>
      <p id={text} class="said" tabIndex={0}>
        {visible(question.text)}
      </p>
      {problem.value !== "" && <Problem text={problem.value} />}
      <div class="row">
        {question.options.map((option, at) => (
          <Button
            key={option.id}
            kind={option.kind.startsWith("allow") ? (at === 0 ? "primary" : "plain") : "plain"}
            busy={sent.value === option.id}
            disabled={sent.value !== ""}
            onClick={() => answer(option.id)}
          >
            {visible(option.name.slice(0, 80)) || story.kinds[option.kind] || option.id}
            <kbd>{at + 1}</kbd>
          </Button>
        ))}
        {sent.value !== "" ? (
          <span class="muted">{words.session.answering}</span>
        ) : (
          question.until !== undefined && <span class="muted">{words.session.asksLeft(clock(question.until - now.value))}</span>
        )}
      </div>
    </section>
  );
}
