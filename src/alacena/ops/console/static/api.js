// What the page asks of the server. Paths are relative, so that the console works wherever it is mounted.

export class Refused extends Error {
  constructor(status, body) {
    super(body.error ?? `HTTP ${status}`)
    this.status = status
    this.reason = body.reason ?? ''
    this.body = body
  }
}

async function call(path, options = {}) {
  const answer = await fetch(path, { credentials: 'same-origin', signal: AbortSignal.timeout(15_000), ...options })
  const body = answer.status === 204 ? {} : await answer.json().catch(() => ({}))
  if (!answer.ok) throw new Refused(answer.status, body)
  return body
}

export function ask(view, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value)
  const query = new URLSearchParams(given).toString()
  return call(`api/${view}${query ? `?${query}` : ''}`)
}

function send(path, method, body) {
  return call(path, { method, body: JSON.stringify(body), headers: { 'content-type': 'application/json' } })
}

export const signIn = (token) => send('session', 'POST', { token })
export const signOut = () => send('session', 'DELETE', {})

// The first request is answered with a question (409) that carries the code of the second one.
export async function question(action, parameters) {
  try {
    await send(`api/do/${action}`, 'POST', parameters)
  } catch (error) {
    if (error.status === 409) return error.body
    throw error
  }
  throw new Error('the server did not ask')
}

export const confirm = (action, parameters, code) => send(`api/do/${action}`, 'POST', { ...parameters, confirm: code })
