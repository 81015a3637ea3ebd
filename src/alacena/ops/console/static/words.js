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
  empty: ['none', 'ninguno'],
  empty_processes: ['No process was heard within a minute.', 'No se oyó a ningún proceso en un minuto.'],
  empty_tenants: [
    'Nothing was read or stored since the processes started.',
    'No se leyó ni se guardó nada desde que arrancaron los procesos.',
  ],
  empty_queues: ['No queue of this namespace was used lately.', 'Ninguna cola de este espacio de nombres se usó últimamente.'],
  empty_locks: [
    'No process says that it holds a lock.',
    'Ningún proceso dice tener un cerrojo.',
  ],
  empty_dead: ['This queue has no dead letters.', 'Esta cola no tiene cartas muertas.'],
  empty_tokens: ['The ledger holds nothing of this tenant and time.', 'El libro no tiene nada de este inquilino y este tiempo.'],
  empty_log: ['Nothing has happened since the console started.', 'No ha pasado nada desde que arrancó la consola.'],
  name_an_entry: ['Name an entry: its type, its id and its tenant.', 'Nombre una entrada: su tipo, su id y su inquilino.'],
  name_a_tenant: ['Name a tenant.', 'Nombre un inquilino.'],
  one_tenant: ['One tenant, also one that is summed up', 'Un inquilino, también uno que está sumado'],
  all_tenants: ['All tenants', 'Todos los inquilinos'],
  asked_processes: [
    'In memory of the processes: {answered} of {asked} answered.',
    'En memoria de los procesos: respondieron {answered} de {asked}.',
  ],
  empty_tenant: ['No process holds or counts anything of this tenant.', 'Ningún proceso guarda ni cuenta nada de este inquilino.'],
  alone: [
    'The server does not answer; these are the figures of this process alone.',
    'El servidor no responde; estas son las cifras de este proceso solo.',
  ],
  no_processes: ['The processes cannot be listed:', 'No se puede hacer la lista de procesos:'],
  under_a_second: ['less than 1 s', 'menos de 1 s'],
  filter: ['Filter', 'Filtrar'],
  shown: ['{shown} of {all}', '{shown} de {all}'],
  examined: ['Examined {age} ago', 'Examinado hace {age}'],
  look_at: ['Look at these', 'Revise esto'],
  in_order: ['Checks that pass: {count}', 'Comprobaciones bien: {count}'],
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
  stale: ['stale', 'de respaldo'],
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
  permissions: ['Permissions (a, b)', 'Permisos (a, b)'],
  why: ['Why?', '¿Por qué?'],
  link: ['Link to this answer', 'Enlace a esta respuesta'],
  facts: ['Facts', 'Datos'],
  invalidate: ['Invalidate…', 'Invalidar…'],
  queue_list: ['Queues', 'Colas'],
  queue: ['Queue', 'Cola'],
  ready: ['Ready', 'Listos'],
  delayed: ['Delayed', 'Aplazados'],
  in_flight: ['In flight', 'En curso'],
  dead: ['Dead', 'Muertos'],
  oldest_age_s: ['Oldest', 'El más antiguo'],
  dead_letters: ['Dead letters of {queue} of {tenant}', 'Cartas muertas de {queue} de {tenant}'],
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
  characters: ['({count} characters)', '({count} caracteres)'],
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
  all_letters: ['all dead letters', 'todas las cartas muertas'],
  some_letters: ['{count} dead letters', '{count} cartas muertas'],
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
  event_FillRefused: ['Value not stored', 'Valor no guardado'],
  event_EntryRejected: ['Entry not readable', 'Entrada ilegible'],
  event_Invalidated: ['Invalidated', 'Invalidado'],
  event_BackendFailed: ['Went on without the server', 'Siguió sin el servidor'],
  event_MemorySwitched: ['Memory on or off', 'Memoria encendida o apagada'],
  event_ItemRejected: ['Job not readable', 'Trabajo ilegible'],
  event_ServerLost: ['Server lost', 'Servidor perdido'],
  event_ServerFound: ['Server found', 'Servidor encontrado'],
  event_LoadFailed: ['Load failed', 'Carga fallida'],
  event_replay: ['Replayed from the console', 'Reintentado desde la consola'],
  event_discard: ['Discarded from the console', 'Descartado desde la consola'],
  event_invalidate: ['Invalidated from the console', 'Invalidado desde la consola'],
  fact_mode: ['Way to the server', 'Camino al servidor'],
  fact_server: ['Server', 'Servidor'],
  fact_connected: ['Connected', 'Conectado'],
  fact_no_stale_fill: ['Nothing old is stored as new', 'Nada viejo se guarda como nuevo'],
  fact_memory: ['Memory serves', 'La memoria sirve'],
  fact_staleness_bound_s: ['Oldest wrong answer, in s', 'Respuesta errónea más vieja, en s'],
  fact_lost_state_fails_closed: ['Lost state counts as a miss', 'Lo perdido cuenta como fallo'],
  fact_one_load: ['One load for', 'Una carga para'],
  fact_coordination: ['Queues and locks for', 'Colas y cerrojos para'],
  fact_eviction_policy: ['Eviction policy', 'Política de desalojo'],
  fact_persistence: ['Persistence', 'Persistencia'],
  fact_missing_rights: ['Missing rights', 'Permisos que faltan'],
  fact_removals_owed: ['Removals not confirmed', 'Eliminaciones sin confirmar'],
  fact_why: ['Why', 'Por qué'],
  fact_faults: ['Faults in the background', 'Fallos de fondo'],
  fact_memory_bytes: ['Memory held', 'Memoria ocupada'],
  fact_memory_max_bytes: ['Memory allowed', 'Memoria permitida'],
  fact_memory_entries: ['Entries in memory', 'Entradas en memoria'],
  fact_loads_under_way: ['Loads under way', 'Cargas en curso'],
  fact_backend_failures: ['Calls without the server', 'Llamadas sin el servidor'],
  fact_loads: ['Loads', 'Cargas'],
  fact_load_failures: ['Failed loads', 'Cargas fallidas'],
  fact_load_s: ['Seconds of loading', 'Segundos de carga'],
  fact_fills: ['Loaded values stored', 'Valores cargados y guardados'],
  fact_rejected: ['Entries not readable', 'Entradas ilegibles'],
  fact_evictions: ['Evictions', 'Desalojos'],
  fact_expirations: ['Expired in memory', 'Caducadas en memoria'],
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

// The reader's own way of writing dates and numbers, if it is one of the language of the page.
const locale = () => (navigator.language.startsWith(language) ? navigator.language : language)

export const number = (value, digits = 0) =>
  value == null ? '–' : new Intl.NumberFormat(locale(), { maximumFractionDigits: digits, useGrouping: 'always' }).format(value)
export const share = (part, whole) =>
  whole ? new Intl.NumberFormat(locale(), { style: 'percent', maximumFractionDigits: 1 }).format(part / whole) : '–'
export const clock = (seconds) =>
  new Intl.DateTimeFormat(locale(), { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false }).format(seconds * 1000)
export const moment = (seconds) =>
  new Intl.DateTimeFormat(locale(), { dateStyle: 'short', timeStyle: 'medium', hour12: false }).format(seconds * 1000)

// Somebody's text as it can be read: what moves the cursor, turns the line or is not seen is written as its code, and the
// middle of a long one is left out.
export function visible(text, most = 100) {
  const seen = text.replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu, (letter) => CODES[letter] ?? `\\u{${letter.codePointAt(0).toString(16)}}`)
  if (seen.length <= most) return seen
  return `${seen.slice(0, (most * 2) / 3)} … ${t('characters', { count: number(text.length) })} … ${seen.slice(-most / 6)}`
}
const CODES = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

export function duration(seconds) {
  if (seconds == null) return '–'
  if (seconds < 0.001) return `${number(seconds * 1e6)} µs`
  if (seconds < 1) return `${number(seconds * 1000, 1)} ms`
  if (seconds < 120) return `${number(seconds, seconds < 10 ? 1 : 0)} s`
  if (seconds < 7200) return `${number(seconds / 60)} min`
  return `${number(seconds / 3600)} h`
}

// An age: less than a second is of no interest.
export const since = (seconds) => (seconds != null && seconds < 1 ? t('under_a_second') : duration(seconds))

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
