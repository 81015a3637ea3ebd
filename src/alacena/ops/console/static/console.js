// The page: somebody signs in, chooses a view, a language, light or dark, and whether it is live.

import { render, useEffect, useState } from './vendor/parts.js'
import { ask, signIn, signOut } from './api.js'
import { Field, html } from './elements.js'
import { isPaused, pause, useLive, usePaused } from './live.js'
import { here } from './route.js'
import { VIEWS } from './views.js'
import { currentLanguage, duration, keep, kept, otherLanguage, speak, t } from './words.js'

function paint(theme) {
  if (theme) document.documentElement.dataset.theme = theme
  keep('alacena.theme', theme ?? '')
}

function isDark() {
  const chosen = document.documentElement.dataset.theme
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
}

function Console() {
  const [about, setAbout] = useState(null)
  const [error, setError] = useState(null)
  const [, redraw] = useState(0)
  const again = () => redraw((count) => count + 1)
  const enter = () => ask('about').then((found) => { setError(null); setAbout(found) }, (failure) => { setAbout(null); setError(failure) })
  useEffect(() => {
    const token = new URLSearchParams(location.hash.replace(/^#/, '')).get('token')
    // The token came behind the #, which no server and no log sees; it must not stay in the history either.
    if (token) history.replaceState(null, '', `${location.pathname}#/health`)
    ;(token ? signIn(token) : Promise.resolve()).then(enter, setError)
    addEventListener('hashchange', again)
    return () => removeEventListener('hashchange', again)
  }, [])
  const change = () => { speak(otherLanguage()); again() }
  if (about === null) {
    if (error === null) return html`<main><p role="status">${t('loading')}</p></main>`
    return html`<${SignIn} error=${error} enter=${enter} change=${change} />`
  }
  return html`<${Shell} about=${about} change=${change} again=${again} leave=${() => signOut().then(enter)} />`
}

function SignIn({ error, enter, change }) {
  const [token, setToken] = useState('')
  const [said, setSaid] = useState(error.status === 401 ? '' : error.message)
  const submit = (event) => {
    event.preventDefault()
    signIn(token).then(enter, (failure) => setSaid(failure.reason === 'token' ? t('wrong_token') : failure.message))
  }
  return html`<main class="sign-in"><h1>${t('title')}</h1><form onSubmit=${submit}>
    <${Field} name="token" label=${t('token')} value=${token} type="password" required aria-describedby="hint"
      onInput=${(event) => setToken(event.target.value)} />
    <p id="hint">${t('token_hint')}</p><p class="notice bad" role="alert">${said}</p>
    <p class="buttons"><button class="main">${t('sign_in')}</button>
      <button type="button" lang=${otherLanguage()} onClick=${change}>${t('language')}</button></p></form></main>`
}

function Shell({ about, change, again, leave }) {
  const { view } = here()
  const View = VIEWS[view] ?? VIEWS.health
  const current = View === VIEWS[view] ? view : 'health'
  useEffect(() => {
    document.title = `${t(current)} – ${t('title')}`
  })
  return html`<a class="skip-link" href="#content" onClick=${(event) => { event.preventDefault(); document.getElementById('content').focus() }}>${t('skip')}</a>
    <header><p class="name">Alacena <span>${about.namespace} · ${about.version}${about.actions ? '' : ` · ${t('read_only')}`}</span></p>
      <${Pulse} />
      <p class="buttons"><button type="button" onClick=${() => { paint(isDark() ? 'light' : 'dark'); again() }}>${t('theme')}</button>
        <button type="button" lang=${otherLanguage()} onClick=${change}>${t('language')}</button>
        ${about.sign_out && html`<button type="button" onClick=${leave}>${t('sign_out')}</button>`}</p></header>
    <nav aria-label=${t('views')}><ul>${Object.keys(VIEWS).map((name) => html`<li>
      <a href=${`#/${name}`} aria-current=${name === current ? 'page' : null}>${t(name)}</a></li>`)}</ul></nav>
    <main id="content" tabindex="-1"><h1>${t(current)}</h1><${View} key=${`${current}`} about=${about} /></main>`
}

// Says whether live data arrives: silence would look like calm.
function Pulse() {
  const beat = useLive('about', {}, { everyMs: 3_000 })
  const stopped = usePaused()
  const words = stopped.hidden ? t('hidden') : stopped.paused ? t('paused') : t('live')
  const silent = beat.silent && !stopped.paused
  return html`<p class="pulse"><span class=${`dot ${silent ? 'bad' : stopped.paused ? 'plain' : 'good'}`} aria-hidden="true"></span>
    <span role="status">${silent ? t('silent', { age: duration((Date.now() - beat.since) / 1000), error: beat.error.message }) : words}</span>
    <button type="button" onClick=${() => pause(!isPaused())}>${t(stopped.paused ? 'resume' : 'pause')}</button></p>`
}

paint(kept('alacena.theme'))
speak(currentLanguage())
render(html`<${Console} />`, document.getElementById('console'))
