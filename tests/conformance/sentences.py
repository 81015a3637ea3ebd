"""What the guide promises, sentence by sentence, and the test that checks each.

A sentence is quoted as it stands in the guide (a part of a line is enough). A test is named ``file::function``, the
file relative to this folder (or to ``tests``, where it begins with ``unit``).
"""

from __future__ import annotations

BLOCKS = "test_blocks.py"
CALLERS = "test_callers.py"
A, B, C, D, E, F, H, METADATA_FAULTS, J = (
    f"faults/test_{name}.py"
    for name in (
        "a_mechanics",
        "b_values",
        "c_coherence",
        "d_keys",
        "e_primitives",
        "f_aside",
        "h_context",
        "i_metadata",
        "j_tracking",
    )
)
G = "faults/test_g_server.py"
METADATA = "unit/common/test_metadata.py"

SENTENCES: dict[str, tuple[str, ...]] = {
    "una capa de abstracción centralizada para operaciones de caché en todos los servicios": (
        f"{G}::test_g1_concurrent_first_calls_open_one_cache",
    ),
    "un enfoque multinivel que combina caché en memoria y Redis": (
        f"{F}::test_f_memory_hits_and_redis_hits_report_their_tier",
    ),
    "Implementa el patrón Singleton": (f"{A}::test_the_instance_verbs_do_not_exist_on_the_class_and_few_names_do",),
    "Proporciona acceso directo a Redis y caché en memoria": (
        f"{B}::test_b3_types_are_the_same_from_memory_and_from_redis",
    ),
    "Ofrece interfaces para operaciones básicas de caché": (f"{BLOCKS}::test_block01_basic_operations",),
    "Implementa patrones como Cache-Aside": (f"{BLOCKS}::test_block03_cache_aside",),
    "Proporciona funciones para serialización/deserialización": (
        f"{B}::test_serialized_values_come_back_with_their_type_with_and_without_a_data_type",
    ),
    "Incluye utilidades para invalidación coordinada": (f"{D}::test_invalidate_coordinated_adds_up_by_type",),
    "Estandariza metadatos de LlamaIndex": (f"{BLOCKS}::test_block04_standardized_metadata",),
    "Define TTLs estándar (TTL_SHORT, TTL_STANDARD, TTL_EXTENDED)": (f"{CALLERS}::test_constants_have_their_values",),
    "Establece tipos de fuentes de datos (SOURCE_CACHE, SOURCE_SUPABASE, etc.)": (
        f"{CALLERS}::test_constants_have_their_values",
    ),
    "Define tipos de métricas y eventos": (f"{CALLERS}::test_constants_have_their_values",),
    "No requieren una instancia de CacheManager": (f"{BLOCKS}::test_block01_basic_operations",),
    "Son la interfaz principal recomendada para la mayoría de usos": (
        f"{BLOCKS}::test_block11_static_methods_for_basic_operations",
    ),
    "Ejemplos: `CacheManager.get()`, `CacheManager.set()`, `CacheManager.delete()`": (
        f"{A}::test_a1_no_method_is_defined_twice_and_every_one_runs",
    ),
    "Accedidos a través de `CacheManager.get_instance()`": (f"{BLOCKS}::test_block02_list_operations",),
    "Incluyen operaciones especializadas como Redis primitives (listas, sets, etc.)": (
        f"{A}::test_a1_no_method_is_defined_twice_and_every_one_runs",
    ),
    "Las operaciones de listas se acceden a través de la instancia": (f"{BLOCKS}::test_block02_list_operations",),
    "No existen actualmente métodos estáticos como `CacheManager.rpush()`.": (
        f"{BLOCKS}::test_block13_static_list_operations_do_not_exist_and_say_what_does",
    ),
    "generate_func=None,  # Opcional: función para generar el recurso si no existe": (
        f"{BLOCKS}::test_block03_cache_aside",
    ),
    "ttl=None  # Opcional: usa el TTL predeterminado por tipo si no se especifica": (
        f"{B}::test_b10_ttls_mean_what_they_say",
    ),
    "Intenta recuperar el dato de la caché multinivel": (f"{BLOCKS}::test_block03_cache_aside",),
    "Llama a `fetch_from_db_func` para obtenerlo de Supabase": (f"{BLOCKS}::test_block09_supabase",),
    "Opcionalmente llama a `generate_func` si se proporciona": (f"{BLOCKS}::test_block19_semantic_search",),
    "Guarda el resultado con TTL apropiado": (f"{B}::test_b10_ttls_mean_what_they_say",),
    "Devuelve el valor y metadatos sobre la operación": (f"{F}::test_f_memory_hits_and_redis_hits_report_their_tier",),
    "`tenant_id`: Obligatorio para multitenancy": (f"{METADATA_FAULTS}::test_i1_a_blank_tenant_is_refused",),
    "`document_id`: Obligatorio para chunks, permite trazabilidad": (
        f"{METADATA_FAULTS}::test_i2_a_chunk_without_a_document_is_refused",
    ),
    "`chunk_id`: Identificador único para el fragmento": (
        f"{METADATA}::test_only_bare_numbers_get_their_document_in_front",
    ),
    "`collection_id`: Necesario para caché jerárquica": (f"{D}::test_d10_every_combination_of_scopes_is_found_again",),
    "`created_at`: Timestamp generado automáticamente si no existe": (
        f"{METADATA}::test_created_at_is_kept_whatever_its_type_and_made_where_it_is_absent",
    ),
    "# Generar clave de caché consistente": (f"{CALLERS}::test_hashes_name_files_queries_and_texts",),
    "# Si encontramos el archivo en caché y existe en el sistema, retornarlo": (
        f"{BLOCKS}::test_block05_file_download",
    ),
    "ttl=CacheManager.ttl_extended  # 24 horas para archivos": (
        f"{A}::test_a3_ttls_are_attributes_of_the_class",
        f"{BLOCKS}::test_block05_file_download",
    ),
    "Para colas de procesamiento, utilizamos operaciones de listas de Redis a través de CacheManager": (
        f"{BLOCKS}::test_block06_queue",
    ),
    "Para rastrear el uso de tokens con prevención de doble conteo": (
        f"{BLOCKS}::test_block07_token_tracking_counts_a_key_once",
        f"{J}::test_j2_a_repeated_key_counts_once_and_other_figures_under_it_are_an_error",
    ),
    "El sistema integra automáticamente con el contexto de ejecución": (
        f"{BLOCKS}::test_block08_tenant_from_the_context",
    ),
    "# CacheManager lo obtendrá del contexto si no se proporciona": (
        f"{D}::test_d4_verbs_take_scopes_alike_and_only_the_tenant_from_the_context",
    ),
    "La función `get_with_cache_aside` integra perfectamente con Supabase": (f"{BLOCKS}::test_block09_supabase",),
    "El sistema se integra con el tracking de tokens estandarizado": (
        f"{BLOCKS}::test_block10_tracking_imported_from_common",
    ),
    "from common.tracking import track_token_usage, TOKEN_TYPE_EMBEDDING, OPERATION_EMBEDDING": (
        f"{CALLERS}::test_code_written_for_common_runs_unchanged",
    ),
    "| TTL_SHORT       | 300 (5 min)          | Resultados de consultas, cachés temporales |": (
        f"{CALLERS}::test_types_have_their_ttls",
    ),
    "| TTL_STANDARD    | 3600 (1 hora)        | Configuraciones, documentos, vector stores |": (
        f"{CALLERS}::test_types_have_their_ttls",
    ),
    "| TTL_EXTENDED    | 86400 (24 horas)     | Embeddings, archivos, recursos costosos |": (
        f"{CALLERS}::test_types_have_their_ttls",
    ),
    "| TTL_PERMANENT   | None (sin expiración)| Datos permanentes, configuraciones críticas |": (
        f"{B}::test_b10_ttls_mean_what_they_say",
    ),
    "**Usar métodos estáticos para operaciones básicas**": (
        f"{BLOCKS}::test_block11_static_methods_for_basic_operations",
    ),
    "**Usar métodos de instancia para operaciones de listas y especializadas**": (
        f"{BLOCKS}::test_block12_instance_methods_for_lists",
    ),
    "Cuando quieras manejo automático de errores, serialización y métricas": (
        f"{B}::test_b9_a_value_that_cannot_be_stored_is_served_and_not_counted_as_stored",
        f"{G}::test_g2_a_server_that_is_away_is_asked_briefly_and_the_source_answers",
    ),
    "Cuando solo necesites una operación get/set simple": (
        f"{BLOCKS}::test_block11_static_methods_for_basic_operations",
    ),
    "Para operaciones especializadas como listas, contadores, etc.": (f"{E}::test_e8_what_is_counted_is_what_is_read",),
    "**No usar métodos estáticos para operaciones de listas**": (
        f"{BLOCKS}::test_block13_static_list_operations_do_not_exist_and_say_what_does",
    ),
    "**No olvidar tenant_id**": (
        f"{BLOCKS}::test_block14_a_missing_tenant_is_an_error",
        f"{D}::test_d1_without_a_tenant_nothing_is_read_or_written",
    ),
    "**No reimplementar patrones existentes**": (
        f"{BLOCKS}::test_block15_the_pattern_by_hand_runs_and_the_helper_does_it_better",
    ),
    "# Adquirir lock para procesamiento exclusivo": (f"{BLOCKS}::test_block16_job_lock",),
    "# Liberar lock en cualquier caso": (f"{E}::test_e5_only_its_owner_releases_a_lock",),
    "# Usar CacheManager para set con NX (only if not exists)": (f"{BLOCKS}::test_block17_lock_over_set_nx",),
    "return result is True": (f"{BLOCKS}::test_block17_lock_over_set_nx",),
    "# Registrar uso de tokens con idempotencia": (f"{BLOCKS}::test_block18_embeddings",),
    "# Generar ID único para esta consulta": (f"{BLOCKS}::test_block19_semantic_search",),
    "fetch_from_db_func=None,  # No hay búsqueda en BD": (f"{BLOCKS}::test_block19_semantic_search",),
    "ttl=TTL_SHORT  # Resultados de búsqueda expiran rápido": (f"{B}::test_b10_ttls_mean_what_they_say",),
    "Verificar que TTL no sea demasiado corto, que la clave de caché sea consistente, y que Redis esté funcionando": (
        f"{G}::test_g3_failures_are_counted_and_told_to_observers",
    ),
    "Verificar que se está usando la interfaz correcta (instancia vs. estática)": (
        f"{BLOCKS}::test_block13_static_list_operations_do_not_exist_and_say_what_does",
    ),
    "Verificar que se está usando `standardize_llama_metadata` en todos los servicios": (
        f"{METADATA}::test_arguments_outrank_metadata_and_metadata_outranks_the_context",
    ),
    "**Añadir método estático**: Crear wrapper estático que llama al método de instancia": (
        f"{A}::test_a1_no_method_is_defined_twice_and_every_one_runs",
    ),
    "podrás implementar de forma consistente y eficiente las operaciones de caché en todos los servicios": (
        f"{C}::test_c5_other_processes_drop_their_copies",
        f"{H}::test_h1_no_tenant_leaks_out_of_a_block_and_setters_return_tokens",
    ),
}
