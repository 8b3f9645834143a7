// What agents can touch here, in plain words, and what is missing.

import { line } from "../story/text";
import { words } from "../words/app";
import { titleOf } from "./choice";
import { Icon } from "./icons";
import { Room } from "./Room";
import { me, status, type Agent } from "./state";
import { Busy, Command, Said } from "./ui";

export function Touch() {
  const known = status.value;
  return (
    <div class="page touch">
      <header class="page-head">
        <h1>{words.touch.title}</h1>
        <p class="lead">{words.touch.lead}</p>
      </header>
      {known === undefined ? (
        <Busy text={words.loading} />
      ) : (
        <>
          <section class="card">
            <h2>
              <Icon name="shield" /> {words.touch.sandbox}
              <Ready ok={known.runtime.ok} />
            </h2>
            <p>
              {known.runtime.ok ? words.touch.isolated : <Said text={line(known.runtime.detail, 600)} />}
            </p>
            {known.runtime.fix !== undefined && (
              <p class="note warn">
                <span>
                  <Said text={line(known.runtime.fix, 600)} />
                </span>
              </p>
            )}
            {known.runtime.ok && (
              <details>
                <summary>{words.touch.details}</summary>
                <p>{line(known.runtime.detail, 600)}</p>
              </details>
            )}
            <div class="two">
              <List title={words.touch.cannot} items={known.runtime.protects ?? []} good />
              <List title={words.touch.can} items={known.runtime.exposes ?? []} />
            </div>
          </section>

          <section class="card">
            <h2>
              <Icon name="leaf" /> {words.touch.agents}
            </h2>
            <p class="muted">{words.touch.agentsLead}</p>
            <ul class="things">
              {known.agents.map((agent) => (
                <AgentLine key={agent.name} agent={agent} />
              ))}
            </ul>
          </section>

          <section class="card">
            <h2>
              <Icon name="moon" /> {words.touch.models}
            </h2>
            {known.model_problem !== null && (
              <p class="note warn">
                <span>
                  <Said text={line(known.model_problem, 600)} />
                </span>
              </p>
            )}
            <h3>{words.touch.modelsLocal}</h3>
            <Models names={known.models.filter((name) => known.cloud?.includes(name) !== true)} usual={known.default_model} />
            {(known.cloud ?? []).length > 0 && (
              <>
                <h3>{words.touch.modelsCloud}</h3>
                <Models names={known.cloud ?? []} usual={known.default_model} />
              </>
            )}
            <p class="muted">{words.touch.get}</p>
            <Command text={words.touch.getCommand} />
            {(known.providers ?? []).length > 0 && (
              <>
                <h3>{words.touch.providers}</h3>
                <p class="muted">{words.touch.never}</p>
                <ul class="things">
                  {known.providers?.map((provider) => (
                    <li key={provider.name}>
                      <div>
                        <strong>{line(provider.name, 40)}</strong>
                        <p>
                          {provider.ready ? words.touch.providerReady(line(provider.name, 40)) : words.touch.providerKey(line(provider.key_env, 60))}
                        </p>
                      </div>
                      <Ready ok={provider.ready} />
                    </li>
                  ))}
                </ul>
              </>
            )}
          </section>

          <Room />

          <section class="card">
            <h2>
              <Icon name="lock" /> {words.touch.who}
            </h2>
            <p>{known.admit === "anyone" ? words.touch.anyone : words.touch.owner}</p>
            <h3>{words.touch.keeps}</h3>
            <p>{words.touch.keepsText(line(me.value?.home ?? "", 200))}</p>
            <p class="muted">{words.touch.check}</p>
            <Command text={words.touch.checkCommand} />
            <p class="muted">{words.touch.version(line(known.version, 20))}</p>
          </section>
        </>
      )}
    </div>
  );
}

function Ready({ ok }: { ok: boolean }) {
  return <span class={`ready ${ok ? "good" : "bad"}`}>{ok ? words.touch.ready : words.touch.notReady}</span>;
}

function List({ title, items, good }: { title: string; items: string[]; good?: boolean }) {
  if (items.length === 0) return null;
  return (
    <div>
      <h3>{title}</h3>
      <ul class={good === true ? "marks good" : "marks"}>
        {items.map((item) => (
          <li key={item}><Said text={line(item, 400)} /></li>
        ))}
      </ul>
    </div>
  );
}

function AgentLine({ agent }: { agent: Agent }) {
  const facts = [agent.command === true ? words.touch.command : agent.workspace === true ? words.touch.files : words.touch.text];
  if (agent.kinds.length > 0) facts.push(words.touch.usual);
  return (
    <li>
      <div>
        <strong>{titleOf(agent)}</strong>
        <p>{line(agent.description, 300)}</p>
        <p class="muted">{facts.join(" · ")}</p>
        {agent.missing !== undefined && (
          <p class="note warn">
            <span>
              <Said text={line(agent.missing, 400)} />
            </span>
          </p>
        )}
      </div>
      <Ready ok={agent.missing === undefined} />
    </li>
  );
}

function Models({ names, usual }: { names: string[]; usual: string | null }) {
  if (names.length === 0) return <p>{words.touch.modelsNone}</p>;
  return (
    <ul class="plain">
      {names.map((name) => (
        <li key={name}>
          <code>{line(name, 80)}</code> {name === usual && <span class="muted">{words.touch.usualModel}</span>}
        </li>
      ))}
    </ul>
  );
}
