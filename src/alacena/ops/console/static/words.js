// The words of the page in both languages, and how each language writes numbers and times.

const WORDS = {
  title: ['Alacena console', 'Consola de Alacena'],
  skip: ['Skip to the content', 'Saltar al contenido'],
  views: ['Views', 'Vistas'],
  health: ['Health', 'Salud'],
  overview: ['Overview', 'Resumen'],
  tenants: ['Tenants and types', 'Inquilinos y tipos'],
  explain: ['Explain', 'Explicar'],
  queues: ['Queues and locks', 'Colas y cerrojos'],
  tokens: ['Tokens', 'Tokens'],
  log: ['Log', 'Registro'],
  language: ['Español', 'English'],
  theme: ['Light or dark', 'Claro u oscuro'],
  pause: ['Pause', 'Pausar'],
  resume: ['Resume', 'Reanudar'],
  live: ['Live', 'En vivo'],
  paused: ['Paused', 'En pausa'],
  hidden: ['Paused while hidden', 'En pausa mientras no se ve'],
  silent: ['No data arrives since {age}: {error}', 'No llegan datos desde hace {age}: {error}'],
  sign_in: ['Sign in', 'Entrar'],
  sign_out: ['Sign out', 'Salir'],
  token: ['Token', 'Token'],
  token_hint: [
    '`alacena console` has printed it, at the end of the address.',
    '`alacena console` lo imprimió, al final de la dirección.',
  ],
  wrong_token: ['This is not the token.', 'Este no es el token.'],
  read_only: ['read-only', 'solo lectura'],
  loading: ['Asking…', 'Consultando…'],
  nothing: ['Nothing to show.', 'No hay nada que mostrar.'],
  filter: ['Filter', 'Filtrar'],
  shown: ['{shown} of {all}', '{shown} de {all}'],
  examined: ['Examined {age} ago', 'Examinado hace {age}'],
  look_at: ['Look at these', 'Revise esto'],
  in_order: ['{count} checks pass', '{count} comprobaciones bien'],
  in_order_caption: ['In order, or not looked at', 'En orden, o no examinadas'],
  check: ['Check', 'Comprobación'],
  state: ['State', 'Estado'],
  found: ['Found', 'Encontrado'],
  follows: ['What follows', 'Qué implica'],
  mend: ['What mends it', 'Cómo se arregla'],
  state_pass: ['passes', 'bien'],
  state_warn: ['look at it', 'revisar'],
  state_fail: ['fails', 'falla'],
  state_skip: ['skipped', 'omitida'],
  verdict_good: ['All is well.', 'Todo está bien.'],
  verdict_doubtful: ['It works; look at what is marked.', 'Funciona; revise lo marcado.'],
  verdict_bad: ['Not well: mend what fails.', 'No está bien: arregle lo que falla.'],
  promises: ['Promises', 'Promesas'],
  fact: ['Fact', 'Dato'],
  value: ['Value', 'Valor'],
  processes: ['Processes of this namespace', 'Procesos de este espacio de nombres'],
  process: ['Process', 'Proceso'],
  heard: ['Last heard', 'Última señal'],
  memory_on: ['Memory', 'Memoria'],
  serves: ['serves', 'sirve'],
  off: ['off', 'apagada'],
  uptime: ['Up for', 'En marcha'],
  version: ['Version', 'Versión'],
  reads_n: ['Reads', 'Lecturas'],
  of_processes: ['Processes together: {count}.', 'Procesos juntos: {count}.'],
  of_process: ['Process {process}.', 'Proceso {process}.'],
  of_all: ['All processes', 'Todos los procesos'],
  this_process: ['(this process)', '(este proceso)'],
  in_each_process: ['In each process', 'En cada proceso'],
  in_memory: ['In memory, fresh for', 'En memoria, vigente durante'],
  not_there: ['not there', 'no está'],
  loads_it: ['Loads it', 'La carga'],
  yes_word: ['Yes', 'Sí'],
  reads: ['Reads by where they were answered', 'Lecturas según dónde se respondieron'],
  reads_second: ['Reads per second', 'Lecturas por segundo'],
  source: ['Answered by', 'Respondió'],
  count: ['Count', 'Cantidad'],
  share: ['Share', 'Parte'],
  memory: ['memory', 'memoria'],
  redis: ['Redis', 'Redis'],
  stale: ['stale', 'caducado'],
  load: ['source', 'origen'],
  none: ['nothing', 'nada'],
  waited: ["another's load", 'carga de otro'],
  others: ['(others)', '(otros)'],
  misses_why: ['Misses by reason', 'Fallos según el motivo'],
  miss_absent: ['never seen', 'nunca visto'],
  miss_expired: ['expired', 'caducado'],
  miss_invalidated: ['invalidated', 'invalidado'],
  miss_evicted: ['evicted', 'desalojado'],
  miss_too_large: ['refused: too large', 'rechazado: demasiado grande'],
  miss_server_away: ['server away', 'sin servidor'],
  op_load: ['load', 'carga'],
  op_invalidate: ['invalidate', 'invalidar'],
  op_redis_read: ['Redis read', 'lectura de Redis'],
  op_store: ['store', 'guardar'],
  tokens_used: ['Tokens used', 'Tokens usados'],
  tokens_saved: ['Tokens saved', 'Tokens ahorrados'],
  tokens_saved_calls: ['Calls saved', 'Llamadas ahorradas'],
  money_saved: ['Money saved', 'Dinero ahorrado'],
  load_failures: ['Failed loads', 'Cargas fallidas'],
  more: ['Counts', 'Contadores'],
  latency: ['Latency', 'Latencia'],
  operation: ['Operation', 'Operación'],
  median: ['Median', 'Mediana'],
  p99: ['99 %', '99 %'],
  tenant: ['Tenant', 'Inquilino'],
  type: ['Type', 'Tipo'],
  id: ['Id', 'Id'],
  entries: ['Entries', 'Entradas'],
  bytes: ['Bytes', 'Bytes'],
  hits: ['Hits', 'Aciertos'],
  misses: ['Misses', 'Fallos'],
  loads: ['Loads', 'Cargas'],
  evictions: ['Evictions', 'Desalojos'],
  expirations: ['Expired', 'Caducadas'],
  agent: ['Agent', 'Agente'],
  conversation: ['Conversation', 'Conversación'],
  collection: ['Collection', 'Colección'],
  user: ['User', 'Usuario'],
  why: ['Why?', '¿Por qué?'],
  link: ['Link to this answer', 'Enlace a esta respuesta'],
  facts: ['Facts', 'Datos'],
  invalidate: ['Invalidate…', 'Invalidar…'],
  queue: ['Queue', 'Cola'],
  ready: ['Ready', 'Listos'],
  delayed: ['Delayed', 'Aplazados'],
  in_flight: ['In flight', 'En curso'],
  dead: ['Dead', 'Muertos'],
  oldest_age_s: ['Oldest', 'El más antiguo'],
  dead_letters: ['Dead letters of {queue} of {tenant}', 'Mensajes muertos de {queue} de {tenant}'],
  attempts: ['Attempts', 'Intentos'],
  reason: ['Reason', 'Motivo'],
  died_at: ['Died', 'Murió'],
  choose: ['Choose', 'Elegir'],
  choose_all: ['Choose all that are shown', 'Elegir todos los que se ven'],
  replay: ['Replay…', 'Reintentar…'],
  discard: ['Discard…', 'Descartar…'],
  locks: ['Locks', 'Cerrojos'],
  lock: ['Lock', 'Cerrojo'],
  left_s: ['Left', 'Queda'],
  fence: ['Fence', 'Barrera'],
  waiting: ['Waiting', 'Esperan'],
  day: ['Day (2026-01-31)', 'Día (2026-01-31)'],
  month: ['Month (2026-01)', 'Mes (2026-01)'],
  show: ['Show', 'Mostrar'],
  used: ['Used', 'Usados'],
  saved: ['Saved', 'Ahorrados'],
  calls: ['Calls', 'Llamadas'],
  model: ['Model', 'Modelo'],
  token_type: ['Kind', 'Clase'],
  tokens_n: ['Tokens', 'Tokens'],
  backlog: ['Not yet in the database', 'Aún no en la base de datos'],
  no_price: [
    'Counted in tokens: no price is known here.',
    'Contado en tokens: aquí no se conoce ningún precio.',
  ],
  when: ['When', 'Cuándo'],
  what: ['What', 'Qué'],
  ask_replay: [
    'Make {which} of queue {queue} of {tenant} ready again?',
    '¿Volver a poner en cola {which} de la cola {queue} de {tenant}?',
  ],
  ask_discard: [
    'Forget {which} of queue {queue} of {tenant} for good?',
    '¿Descartar para siempre {which} de la cola {queue} de {tenant}?',
  ],
  ask_invalidate: ['Invalidate {which} of tenant {tenant}?', '¿Invalidar {which} del inquilino {tenant}?'],
  all_letters: ['all dead letters', 'todos los mensajes muertos'],
  some_letters: ['{count} dead letters', '{count} mensajes muertos'],
  everything: ['EVERYTHING', 'TODO'],
  document: ['Document', 'Documento'],
  yes: ['Yes, do it', 'Sí, hacerlo'],
  no: ['No', 'No'],
  done_replay: ['{count} made ready again.', '{count} de nuevo en cola.'],
  done_discard: ['{count} forgotten.', '{count} descartados.'],
  done_invalidate: ['Invalidated, and confirmed by the server.', 'Invalidado, y confirmado por el servidor.'],
  not_confirmed: [
    'The server did not confirm: do it again.',
    'El servidor no lo confirmó: repítalo.',
  ],
  why_memory: ['Fresh, served from memory.', 'Vigente, servido desde memoria.'],
  why_redis: ['Fresh, served from Redis.', 'Vigente, servido desde Redis.'],
  why_stale: ['Expired, and kept as stale.', 'Caducado, y guardado como respaldo.'],
  why_expired: ['Expired.', 'Caducado.'],
  why_evicted: ['Evicted.', 'Desalojado.'],
  why_invalidated: ['Invalidated.', 'Invalidado.'],
  why_unreadable: ['Stored, but not readable here.', 'Guardado, pero aquí no se puede leer.'],
  why_loading: ['Being loaded.', 'Se está cargando.'],
  why_owed: ['A removal is not confirmed yet.', 'Falta confirmar una eliminación.'],
  why_held: ['A write block holds it.', 'Un bloque de escritura lo retiene.'],
  why_wider_scope: ['Stored for a wider scope.', 'Guardado para un ámbito más amplio.'],
  why_other_scope: ['Stored for another scope.', 'Guardado para otro ámbito.'],
  why_other_tenant: ["Another tenant's.", 'Es de otro inquilino.'],
  why_never: ['Never stored.', 'Nunca se guardó.'],
  why_absent: ['Nothing is stored.', 'No hay nada guardado.'],
  why_too_large: ['Refused: too large.', 'Rechazado: demasiado grande.'],
  why_server_away: ['The server was away.', 'El servidor no respondía.'],
  why_memory_elsewhere: ['Only in the memory of another process.', 'Solo en la memoria de otro proceso.'],
  why_no_server: ['No server is configured.', 'No hay servidor configurado.'],
}

const stored = (name) => {
  try {
    return localStorage.getItem(name)
  } catch {
    return null // a browser that keeps nothing for this page
  }
}
export const keep = (name, value) => {
  try {
    localStorage.setItem(name, value)
  } catch {
    // it holds until the page is closed
  }
}
export const kept = stored

let language = stored('alacena.language') ?? (navigator.language.startsWith('es') ? 'es' : 'en')

export const currentLanguage = () => language
export const otherLanguage = () => (language === 'es' ? 'en' : 'es')
export function speak(chosen) {
  language = chosen
  keep('alacena.language', chosen)
  document.documentElement.lang = chosen
  document.title = t('title')
}

export function t(key, values = {}) {
  const found = WORDS[key]
  if (!found) return key.replaceAll('_', ' ')
  return found[language === 'es' ? 1 : 0].replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ''))
}
export const knows = (key) => key in WORDS

export const number = (value, digits = 0) =>
  value == null ? '–' : new Intl.NumberFormat(language, { maximumFractionDigits: digits, useGrouping: 'always' }).format(value)
export const share = (part, whole) =>
  whole ? new Intl.NumberFormat(language, { style: 'percent', maximumFractionDigits: 1 }).format(part / whole) : '–'
export const clock = (seconds) =>
  new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false }).format(seconds * 1000)
export const moment = (seconds) =>
  new Intl.DateTimeFormat(language, { dateStyle: 'short', timeStyle: 'medium', hour12: false }).format(seconds * 1000)

export function duration(seconds) {
  if (seconds == null) return '–'
  if (seconds < 0.001) return `${number(seconds * 1e6)} µs`
  if (seconds < 1) return `${number(seconds * 1000, 1)} ms`
  if (seconds < 120) return `${number(seconds, seconds < 10 ? 1 : 0)} s`
  if (seconds < 7200) return `${number(seconds / 60)} min`
  return `${number(seconds / 3600)} h`
}

export function size(bytes) {
  if (bytes == null) return '–'
  const units = ['B', 'KiB', 'MiB', 'GiB']
  let at = 0
  while (bytes >= 1024 && at < units.length - 1) {
    bytes /= 1024
    at += 1
  }
  return `${number(bytes, at ? 1 : 0)} ${units[at]}`
}
