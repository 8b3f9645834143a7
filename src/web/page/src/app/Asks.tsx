// A question of an agent, where its owner cannot miss it.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { visible } from "../story/text";
import { words } from "../words/app";
import { clock, words as story } from "../words/story";
import { onKeys } from "./keys";
import { now } from "./state";
import type { Question } from "./store";
import * as tasks from "./tasks";
import { Button, Problem, sentence } from "./ui";

export function Asks({ question }: { question: Question }) {
  const sent = useSignal("");
  const problem = useSignal("");
  const card = useRef<HTMLElement>(null);
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
        answer(option.id);
        return true;
      }),
    [question.id],
  );
  return (
    <section class="asks" ref={card} aria-labelledby="asks-title" role="alertdialog" aria-describedby="asks-text">
      <h2 id="asks-title">{words.session.asks}</h2>
      <p id="asks-text" class="said">
        {visible(question.text.slice(0, 4000))}
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
