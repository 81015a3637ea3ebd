-- What a Supabase project has before its first table: the roles that tokens name, and pgvector.
create role anon nologin;
create role authenticated nologin;
create role service_role nologin bypassrls;
create role authenticator login noinherit;
grant anon, authenticated, service_role to authenticator;
create extension vector;

-- The tenant of the token that came with the request; null without one.
create function public.request_tenant() returns text language sql stable as $$
    select nullif(current_setting('request.jwt.claims', true), '')::json ->> 'tenant_id'
$$;

create schema ai;

create table public.tenants (
    tenant_id text primary key,
    name text not null
);

create table ai.collections (
    tenant_id text not null,
    collection_id text primary key,
    name text not null
);

create table ai.documents (
    tenant_id text not null,
    document_id text not null,
    collection_id text,
    title text not null default '',
    content text not null default '',
    metadata jsonb not null default '{}',
    updated_at timestamptz not null default now(),
    primary key (tenant_id, document_id)
);

create table ai.document_chunks (
    tenant_id text not null,
    chunk_id text not null,
    document_id text not null,
    content text not null default '',
    embedding vector(3),
    metadata jsonb not null default '{}',
    primary key (tenant_id, chunk_id),
    foreign key (tenant_id, document_id) references ai.documents on delete cascade
);

alter table public.tenants enable row level security;
alter table ai.collections enable row level security;
alter table ai.documents enable row level security;
alter table ai.document_chunks enable row level security;
create policy own_rows on public.tenants to authenticated using (tenant_id = public.request_tenant());
create policy own_rows on ai.collections to authenticated using (tenant_id = public.request_tenant());
create policy own_rows on ai.documents to authenticated using (tenant_id = public.request_tenant());
create policy own_rows on ai.document_chunks to authenticated using (tenant_id = public.request_tenant());

-- The names that code without schemas uses; the views run with the reader's rights, so the policies hold there too.
create view public.documents with (security_invoker = true) as select * from ai.documents;
create view public.document_chunks with (security_invoker = true) as select * from ai.document_chunks;

create function public.match_chunks(query vector(3), match_count int)
returns setof ai.document_chunks language sql stable as $$
    select * from ai.document_chunks order by embedding <=> query limit match_count
$$;

grant usage on schema public, ai to anon, authenticated, service_role;
grant select, insert, update, delete on all tables in schema public, ai to authenticated, service_role;
