// The seven views, in the order in which they answer questions.

import { useRef, useState } from './vendor/parts.js'
import { Chart, Facts, Field, Notice, State, Table, html, useAction } from './elements.js'
import { useLive } from './live.js'
import { say, sayCheck } from './findings.js'
import { duration, knows, moment, number, share, size, t } from './words.js'
import { go, here } from './route.js'

const HISTORY = 150

function Health() {
  const state = useLive('health', {}, { everyMs: 5_000 })
  const fleet = useLive('fleet')
  if (state.data === null) return html`<${Notice} state=${state} />`
  const { checks, guarantee, age_s: age } = state.data
  const worst = checks[0]?.state
  const tone = worst === 'fail' ? 'bad' : worst === 'warn' ? 'doubtful' : 'good'
  const notWell = checks.filter(({ state: one }) => one === 'fail' || one === 'warn')
  const rest = checks.filter((one) => !notWell.includes(one))
  return html`<p class="verdict ${tone}" role="status">${t(`verdict_${tone}`)} <small>${t('examined', { age: duration(age) })}</small></p>
    ${notWell.length > 0 && html`<${Table} caption=${t('look_at')} filter=${false} rows=${notWell} columns=${[
      ...CHECK, { key: 'follows', label: t('follows'), show: inWords(say) },
      { key: 'mend', label: t('mend'), show: (value) => value && html`<code>${inWords(say)(value)}</code>` },
    ]} />`}
    <details open=${notWell.length === 0}><summary>${t('in_order', { count: number(rest.filter((one) => one.state === 'pass').length) })}</summary>
      <${Table} caption=${t('in_order_caption')} filter=${false} rows=${rest} columns=${CHECK} /></details>
    ${fleet.data && html`<${Table} caption=${t('processes')} rows=${fleet.data.processes}
      link=${(row) => `#/overview?${new URLSearchParams({ process: row.name })}`} columns=${[
        { key: 'name', label: t('process') },
        { key: 'age_s', label: t('heard'), number: true, show: (value, row) => html`<${Heard} age=${value} stale=${row.is_stale} />` },
        { key: 'memory_serves', label: t('memory_on'), show: (value) => t(value ? 'serves' : 'off') },
        { key: 'reads', label: t('reads_n'), number: true, show: (value) => number(value) },
        { key: 'memory_bytes', label: t('bytes'), number: true, show: size },
        { key: 'uptime_s', label: t('uptime'), number: true, show: duration },
        { key: 'version', label: t('version') },
        { key: 'why', label: t('found'), show: inWords(say) },
      ]} />`}
    <${Facts} caption=${t('promises')} facts=${guarantee} />`
}

const Heard = ({ age, stale }) => html`<span class=${stale ? 'state fail' : ''}>${duration(age)}</span>`

const english = (words) => html`<span lang="en">${words}</span>`
const inWords = (speak) => (text) => {
  const { words, lang } = speak(text)
  return html`<span lang=${lang}>${words}</span>`
}

const CHECK = [
  { key: 'check', get label() { return t('check') }, show: inWords(sayCheck) },
  { key: 'state', get label() { return t('state') }, show: (value) => html`<${State} state=${value} />` },
  { key: 'found', get label() { return t('found') }, show: inWords(say) },
]

const SOURCES = ['memory', 'redis', 'load', 'waited', 'stale', 'none']

function Overview() {
  const { parameters } = here()
  const state = useLive('overview', parameters)
  const history = useRef([])
  const { data } = state
  if (data && history.current.at(-1) !== data) history.current = [...history.current, data].slice(-HISTORY)
  if (data === null) return html`<${Notice} state=${state} />`
  const all = SOURCES.reduce((sum, name) => sum + (data.reads[name] ?? 0), 0)
  const points = history.current
  const rates = (name) => points.map((point, at) => {
    const before = points[at - 1]
    return before ? Math.max(0, (point.reads[name] - before.reads[name]) / Math.max(point.at - before.at, 0.001)) : 0
  })
  return html`<p>${parameters.process ? html`${t('of_process', parameters)} <a href="#/overview">${t('of_all')}</a>` : t('of_processes', { count: number(data.processes) })}</p>
    <${Chart} label=${t('reads_second')} times=${points.map((point) => point.at)}
      series=${SOURCES.filter((name) => name !== 'none').map((name) => ({ label: t(name), values: rates(name) }))} />
    <${Table} caption=${t('reads')} filter=${false} rows=${SOURCES.map((name) => ({ name: t(name), count: data.reads[name] ?? 0 }))} columns=${[
      { key: 'name', label: t('source') },
      { key: 'count', label: t('count'), number: true, show: (value) => number(value) },
      { key: 'share', label: t('share'), number: true, show: (_, row) => share(row.count, all) },
    ]} />
    <${Table} caption=${t('misses_why')} filter=${false} rows=${Object.entries(data.misses).map(([name, count]) => ({ name: t(`miss_${name}`), count }))} columns=${[
      { key: 'name', label: t('reason') },
      { key: 'count', label: t('count'), number: true, show: (value) => number(value) },
    ]} />
    ${data.latencies.length > 0 && html`<${Table} caption=${t('latency')} filter=${false} columns=${[
      { key: 'operation', label: t('operation') },
      { key: 'count', label: t('count'), number: true, show: (value) => number(value) },
      { key: 'median_s', label: t('median'), number: true, show: duration },
      { key: 'p99_s', label: t('p99'), number: true, show: duration },
    ]} rows=${data.latencies.map((one) => ({ ...one, operation: t(`op_${one.operation}`) }))} />`}
    <dl class="figures">${['used', 'saved', 'saved_calls'].map((name) => html`<div><dt>${t(`tokens_${name}`)}</dt><dd>${number(data.tokens[name])}</dd></div>`)}
      ${data.tokens.saved_micros > 0 && html`<div><dt>${t('money_saved')}</dt><dd>${number(data.tokens.saved_micros / 1e6, 2)}</dd></div>`}</dl>
    <${Facts} caption=${t('more')} facts=${data.facts} />`
}

function Tenants() {
  const state = useLive('tenants', {}, { everyMs: 5_000 })
  if (state.data === null) return html`<${Notice} state=${state} />`
  const columns = ['entries', 'bytes', 'hits', 'misses', 'loads', 'load_failures', 'evictions', 'expirations']
    .map((key) => ({ key, label: t(key), number: true, show: key === 'bytes' ? size : (value) => number(value) }))
  return html`<${Table} caption=${t('tenants')} rows=${state.data.rows.map((row) => ({ ...row, tenant_id: row.tenant_id === '_other' ? t('others') : row.tenant_id }))}
    columns=${[{ key: 'tenant_id', label: t('tenant') }, { key: 'data_type', label: t('type') }, ...columns]} />`
}

const PARTS = [['type', 'type', true], ['id', 'id', true], ['tenant', 'tenant', true], ['agent_id', 'agent'], ['conversation_id', 'conversation'], ['collection_id', 'collection'], ['user_id', 'user']]

function Explain({ about }) {
  const { parameters } = here()
  const [given, setGiven] = useState(parameters)
  const ready = Boolean(parameters.type && parameters.id && parameters.tenant)
  const state = useLive('explain', parameters, { on: ready, everyMs: 10_000 }) // each asks every process
  const action = useAction()
  const put = (name) => (event) => setGiven({ ...given, [name]: event.target.value })
  const drop = () => action.begin('invalidate', { tenant: parameters.tenant, type: parameters.type, id: parameters.id },
    t('ask_invalidate', { which: `${parameters.type} ${parameters.id}`, tenant: parameters.tenant }))
  return html`<form class="fields" onSubmit=${(event) => { event.preventDefault(); go('explain', given) }}>
      ${PARTS.map(([name, label, needed]) => html`<${Field} name=${name} label=${t(label)} value=${given[name]} required=${Boolean(needed)} onInput=${put(name)} />`)}
      <p class="buttons"><button class="main">${t('why')}</button></p></form>
    ${ready && html`<${Notice} state=${state} />`}
    ${ready && state.data && html`<section aria-live="polite">
      <p class="verdict ${state.data.sentences[1]?.tone ?? 'plain'}">${knows(`why_${state.data.data.reason}`) ? t(`why_${state.data.data.reason}`) : ''}</p>
      <p class="sentence">${inWords(say)(state.data.data.sentence)}</p></section>
      <p class="buttons"><a href=${location.href}>${t('link')}</a>
        ${about.actions && html`<button type="button" class="danger" onClick=${drop}>${t('invalidate')}</button>`}</p>
      ${action.view}
      <${Processes} found=${state.data.data} />
      <${Facts} caption=${t('facts')} facts=${state.data.data.facts} />`}`
}

function Processes({ found }) {
  const all = [{ process: t('this_process'), ...found.facts }, ...(found.processes ?? [])]
  const rows = all.map(({ process, error, memory, loading }) => ({ name: process, ...(memory ?? {}), loading: loading ?? null, error }))
  return html`<${Table} caption=${t('in_each_process')} rows=${rows} columns=${[
    { key: 'name', label: t('process') },
    { key: 'fresh_for_s', label: t('in_memory'), show: (value, row) => (row.error ? inWords(say)(row.error) : value == null ? t('not_there') : row.alive === false ? t('why_invalidated') : duration(value)) },
    { key: 'hits', label: t('hits'), number: true, show: (value) => number(value) },
    { key: 'bytes', label: t('bytes'), number: true, show: size },
    { key: 'loading', label: t('loads_it'), show: (value) => (value == null ? '–' : t(value ? 'yes_word' : 'no')) },
  ]} />`
}

function Queues({ about }) {
  const { parameters } = here()
  const queues = useLive('queues')
  const locks = useLive('locks')
  const number_ = (key, label) => ({ key, label: t(label ?? key), number: true, show: (value) => number(value) })
  return html`<${Notice} state=${queues} />
    ${queues.data && html`<${Table} caption=${t('queues')} rows=${queues.data.data.queues}
      link=${(row) => `#/queues?${new URLSearchParams({ tenant: row.tenant_id, queue: row.queue })}`} columns=${[
        { key: 'queue', label: t('queue') }, { key: 'tenant_id', label: t('tenant') },
        number_('ready'), number_('delayed'), number_('in_flight'), number_('dead'),
        { key: 'oldest_age_s', label: t('oldest_age_s'), number: true, show: duration },
      ]} />`}
    ${parameters.queue && parameters.tenant && html`<${Letters} key=${`${parameters.tenant} ${parameters.queue}`} about=${about} ...${parameters} />`}
    ${locks.data && html`<${Table} caption=${t('locks')} rows=${locks.data.data.locks} columns=${[
      { key: 'name', label: t('lock') }, { key: 'tenant_id', label: t('tenant') },
      ...(locks.data.data.locks.some((lock) => lock.process) ? [{ key: 'process', label: t('process') }] : []),
      { key: 'left_s', label: t('left_s'), number: true, show: duration }, number_('fence'), number_('waiting'),
    ]} />`}`
}

function Letters({ tenant, queue, about }) {
  const [count, setCount] = useState(0)
  const state = useLive('dead', { tenant, queue, count }, { everyMs: 5_000 })
  const [chosen, setChosen] = useState(new Set())
  const action = useAction(() => { setChosen(new Set()); setCount(count + 1) })
  if (state.data === null) return html`<${Notice} state=${state} />${action.view}`
  const rows = state.data.data.dead
  const keep = (row, on) => { const next = new Set(chosen); on ? next.add(row.id) : next.delete(row.id); setChosen(next) }
  const all = (shown, on) => { const next = new Set(chosen); shown.forEach((row) => (on ? next.add(row.id) : next.delete(row.id))); setChosen(next) }
  const there = rows.filter((row) => chosen.has(row.id)).map((row) => row.id)
  const which = there.length ? t('some_letters', { count: number(there.length) }) : t('all_letters')
  const act = (name) => action.begin(name, { tenant, queue, ...(there.length ? { ids: there } : {}) }, t(`ask_${name}`, { which, queue, tenant }))
  const title = t('dead_letters', { queue, tenant })
  return html`${about.actions && rows.length > 0 && html`<p class="buttons"><span>${which}:</span>
      <button type="button" onClick=${() => act('replay')}>${t('replay')}</button>
      <button type="button" class="danger" onClick=${() => act('discard')}>${t('discard')}</button></p>`}
    ${action.view}
    <${Table} caption=${title} rows=${rows} choose=${about.actions ? { chosen, one: keep, all } : null} columns=${[
      { key: 'id', label: t('id') }, { key: 'reason', label: t('reason') },
      { key: 'attempts', label: t('attempts'), number: true }, { key: 'died_at', label: t('died_at'), show: (value) => moment(Date.parse(value) / 1000) },
      { key: 'value', label: t('value'), show: (value) => html`<code>${value.slice(0, 400)}</code>` },
    ]} />`
}

function Tokens() {
  const { parameters } = here()
  const [given, setGiven] = useState(parameters)
  const state = useLive('tokens', parameters, { on: Boolean(parameters.tenant), everyMs: 5_000 })
  const put = (name) => (event) => setGiven({ ...given, [name]: event.target.value })
  const found = state.data?.data
  return html`<form class="fields" onSubmit=${(event) => { event.preventDefault(); go('tokens', given) }}>
      <${Field} name="tenant" label=${t('tenant')} value=${given.tenant} required onInput=${put('tenant')} />
      <${Field} name="day" label=${t('day')} value=${given.day} onInput=${put('day')} />
      <${Field} name="month" label=${t('month')} value=${given.month} onInput=${put('month')} />
      <p class="buttons"><button class="main">${t('show')}</button></p></form>
    ${parameters.tenant && html`<${Notice} state=${state} />`}
    ${found && html`<dl class="figures">
        ${['used', 'saved', 'calls', 'backlog'].map((name) => html`<div><dt>${t(name)}</dt><dd>${number(found[name])}</dd></div>`)}</dl>
      <p class="notice">${t('no_price')}</p>
      <${Table} caption=${t('tokens')} rows=${found.rows.map((row) => ({ ...row, kind: t(row.saved ? 'saved' : 'used') }))} columns=${[
        { key: 'model', label: t('model') }, { key: 'token_type', label: t('token_type') }, { key: 'operation', label: t('operation') },
        { key: 'kind', label: t('state') },
        { key: 'tokens', label: t('tokens_n'), number: true, show: (value) => number(value) },
        { key: 'calls', label: t('calls'), number: true, show: (value) => number(value) },
      ]} />`}`
}

function Log() {
  const state = useLive('log')
  if (state.data === null) return html`<${Notice} state=${state} />`
  const rows = state.data.lines.map((line) => ({ ...line, facts: Object.entries(line.facts).map(([name, value]) => `${name}=${value}`).join(' ') }))
  return html`<${Table} caption=${t('log')} rows=${rows} columns=${[
    { key: 'at', label: t('when'), show: moment }, { key: 'what', label: t('what'), show: english }, { key: 'facts', label: t('facts'), show: english },
  ]} />`
}

export const VIEWS = { health: Health, overview: Overview, tenants: Tenants, explain: Explain, queues: Queues, tokens: Tokens, log: Log }
