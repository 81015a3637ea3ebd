"""What every chunk says of itself, whichever service wrote it."""

from alacena import standardize_llama_metadata

# --8<-- [start:standard]
metadata = standardize_llama_metadata(
    {"file_name": "lease.pdf"}, tenant_id="acme", document_id="lease", chunk_id=3, collection_id="legal"
)
assert metadata["chunk_id"] == "lease_3"  # names one chunk in the whole tenant
assert metadata["file_name"] == "lease.pdf"  # unknown fields stay
assert isinstance(metadata["created_at"], int)
assert standardize_llama_metadata(metadata) == metadata  # twice changes nothing
# --8<-- [end:standard]
# --8<-- [start:wrong]
try:
    standardize_llama_metadata({}, tenant_id="acme", chunk_id="c1")
except ValueError as error:
    print(error)
# --8<-- [end:wrong]
