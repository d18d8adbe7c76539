"""Model architectures: the dimensions that decide weights, KV cache and arithmetic per token."""

from __future__ import annotations

from dataclasses import dataclass, replace

from profiles.model_parts import Encoder, Experts, GlobalLayers, Indexer, Mla, PerLayerInput, Recurrent, SharedKv

# Weight formats a checkpoint may come in; None in Architecture.checkpoint_quant means unquantised weights in `dtype`.
CHECKPOINT_QUANTS = ("awq", "fp8", "gptq", "int4", "int8", "mxfp4", "nvfp4")
# What a quantised checkpoint quantises: every linear layer of the blocks, or the routed experts only.
QUANT_SCOPES = ("experts", "linear")
# Element types of unquantised weights, with their size in bytes.
DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative decoding: tokens that are proposed per step and verified in the next one, by a draft model or without (None)."""

    tokens: int
    draft: Architecture | None


@dataclass(frozen=True, slots=True)
class Architecture:
    """A language model as its config.json describes it, a decoder unless encoder is there; widths are in elements, lengths in tokens.

    name is the Hugging Face id (or the folder of an imported config.json). dtype is what vLLM takes under `--dtype auto`. Of `layers`,
    sliding_layers keep only the last sliding_window_tokens tokens; the rest attend to everything. For MLA models kv_heads and head_dim
    describe the expanded heads (head_dim = nope + rope). quant_scope says what checkpoint_quant covers: every linear layer of the blocks
    ("linear") or the routed experts only ("experts"); embeddings always stay in dtype. vision_parameters counts the tower and projector of
    a multimodal model. gated_mlp: three matrices per MLP instead of two.

    Of `layers`, recurrent.layers keep a state instead of a cache and mlp_only_layers hold nothing but an MLP (Nemotron-H, whose other
    layers then hold none). chunked: windows are chunks (Llama 4). gated_attention: queries come with a gate of their size. The largest
    image takes image_tokens tokens and image_values pixel values; 0 means not known.

    pooling: each prompt gets one vector, class or score (vLLM's pooling models) and nothing is generated; it has no output head.
    hf_overrides are JSON for vLLM's --hf-overrides without which it would not make scores of this model, "" for others.

    unquantized_modules are names and patterns of modules that a quantised checkpoint keeps in dtype (profiles.unquantized). weights_note
    says what about the weights is not known, for whoever reads their size.
    """

    name: str
    aliases: tuple[str, ...]
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tie_embeddings: bool
    max_position: int
    dtype: str
    checkpoint_quant: str | None
    quant_scope: str | None
    experts: Experts | None
    mla: Mla | None
    sliding_layers: int
    sliding_window_tokens: int | None
    gated_mlp: bool
    vision_parameters: int
    source: str
    recurrent: Recurrent | None = None
    mlp_only_layers: int = 0
    chunked: bool = False
    gated_attention: bool = False
    image_tokens: int = 0
    image_values: int = 0
    unquantized_modules: tuple[str, ...] = ()
    weights_note: str = ""
    indexer: Indexer | None = None
    global_layers: GlobalLayers | None = None
    per_layer_input: PerLayerInput | None = None
    shared_kv: SharedKv | None = None
    encoder: Encoder | None = None
    pooling: bool = False
    hf_overrides: str = ""
    speculation: Speculation | None = None

    def speculating(self, speculation: Speculation) -> Architecture:
        """The model as an engine runs it that decodes speculatively."""
        return replace(self, speculation=speculation)

    @property
    def tokens_per_decode(self) -> int:
        """Tokens that a step computes for each request that decodes."""
        return 1 + (self.speculation.tokens if self.speculation else 0)

    @property
    def draft(self) -> Architecture | None:
        """The draft model of speculative decoding."""
        return self.speculation.draft if self.speculation else None

    def pooled(self) -> Architecture:
        """The model as an engine loads it to make vectors or scores of whole prompts: without its output head."""
        return replace(self, pooling=True, tie_embeddings=True)

    @property
    def attention_layers(self) -> int:
        """Layers that keep keys and values (or latents) of the tokens."""
        return self.layers - self.mlp_only_layers - (self.recurrent.layers if self.recurrent else 0)

    @property
    def cached_layers(self) -> tuple[int, int]:
        """Layers with a cache of their own that attend to everything, and those that slide; an encoder has neither."""
        if self.encoder is not None:
            return 0, 0
        shared = self.shared_kv or SharedKv(0, 0, double_mlp=False)
        full = self.attention_layers - self.sliding_layers - (shared.layers - shared.sliding_layers)
        return full, self.sliding_layers - shared.sliding_layers

    @property
    def full_heads(self) -> GlobalLayers:
        """KV heads of the layers that attend to everything."""
        return self.global_layers or GlobalLayers(self.kv_heads, self.head_dim)

    @property
    def mlp_layers(self) -> int:
        """Layers with an MLP or experts."""
        return self.mlp_only_layers or self.layers

    @property
    def embedding_parameters(self) -> int:
        """Input embedding and output head, one matrix when they are tied, and the embeddings of layers, positions and segments."""
        matrices = 1 if self.tie_embeddings else 2
        return self.vocab * self.hidden * matrices + self.per_layer_embedding_parameters + self.position_parameters

    @property
    def per_layer_embedding_parameters(self) -> int:
        """The embeddings of the layers; 0 for a model without."""
        return self.layers * self.per_layer_input.vocab * self.per_layer_input.hidden if self.per_layer_input else 0

    @property
    def position_parameters(self) -> int:
        """The embeddings of positions and segments of an encoder; 0 for a decoder."""
        return (self.encoder.learned_positions + self.encoder.segments) * self.hidden if self.encoder else 0

    @property
    def attention_parameters(self) -> int:
        """Projections of all attention and recurrent layers; biases are left out (below 0.1 %)."""
        attention = self.attention_layers * self._mla_parameters(self.mla) if self.mla else self._gqa_parameters()
        return attention + (self.recurrent.layers * self.recurrent.parameters(self.hidden) if self.recurrent else 0)

    def _gqa_parameters(self) -> int:
        queries = self.heads * (3 if self.gated_attention else 2)
        full_layers, full = self.attention_layers - self.sliding_layers, self.full_heads
        query_width = queries * (full_layers * full.head_dim + self.sliding_layers * self.head_dim)
        # An engine loads keys a second time as values where a checkpoint has one projection for both (vllm gemma4.py).
        cached_full, cached_sliding = (full_layers, self.sliding_layers) if self.encoder else self.cached_layers
        key_value_width = 2 * (cached_full * full.kv_heads * full.head_dim + cached_sliding * self.kv_heads * self.head_dim)
        return self.hidden * (query_width + key_value_width)

    def _mla_parameters(self, mla: Mla) -> int:
        # DeepSeek-V2, arXiv 2405.04434, section 2.1: down- and up-projections of queries and of keys and values, output projection
        query_width = self.heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
        query = self.hidden * query_width if mla.q_lora_rank is None else mla.q_lora_rank * (self.hidden + query_width)
        key_value = self.hidden * (mla.kv_lora_rank + mla.qk_rope_head_dim)
        key_value += mla.kv_lora_rank * self.heads * (mla.qk_nope_head_dim + mla.v_head_dim)
        return query + key_value + self.heads * mla.v_head_dim * self.hidden + self.indexer_parameters

    @property
    def indexer_parameters(self) -> int:
        """Projections of queries, key and head weights of one layer's indexer; 0 for a model without."""
        if self.indexer is None or self.mla is None:
            return 0
        # Called wq_b, wk and weights_proj (vllm/model_executor/models/deepseek_v2.py, Indexer)
        queries = (self.mla.q_lora_rank or self.hidden) * self.indexer.heads * self.indexer.head_dim
        return queries + self.hidden * (self.indexer.head_dim + self.indexer.heads)

    @property
    def _mlp_matrices(self) -> int:
        return 3 if self.gated_mlp else 2

    @property
    def dense_mlp_parameters(self) -> int:
        """MLPs of the dense layers, shared experts and routers: the parts of the MLPs that every token passes."""
        if self.experts is None:
            doubled = self.shared_kv.layers if self.shared_kv and self.shared_kv.double_mlp else 0
            return (self.mlp_layers + doubled) * self._mlp_matrices * self.hidden * self.intermediate
        dense = (self.mlp_layers - self.experts.layers) * self._mlp_matrices * self.hidden * self.intermediate
        shared = self._mlp_matrices * self.hidden * self.experts.shared_intermediate
        return dense + self.experts.layers * (shared + self.hidden * self.experts.count)

    def _routed_parameters(self, experts_per_layer: int) -> int:
        if self.experts is None:
            return 0
        return self.experts.layers * experts_per_layer * self._mlp_matrices * self.hidden * self.experts.intermediate

    @property
    def expert_parameters(self) -> int:
        """All routed experts of all layers; 0 for a dense model."""
        return self._routed_parameters(self.experts.count if self.experts else 0)

    @property
    def norm_parameters(self) -> int:
        """Held whole by every rank: two norms per layer (one where it is a mixer or an MLP), the final one, layers' input projections."""
        # They are per_layer_model_projection, per_layer_input_gate and per_layer_projection (vllm/model_executor/models/gemma4.py)
        inputs = 3 * self.layers * self.per_layer_input.hidden if self.per_layer_input else 0
        return ((1 if self.mlp_only_layers else 2) * self.layers + 1 + inputs) * self.hidden

    @property
    def parameter_count(self) -> int:
        """Parameters a server loads: embeddings, attention, MLPs, experts, norms and vision tower (no biases, no draft layers)."""
        blocks = self.attention_parameters + self.dense_mlp_parameters + self.expert_parameters
        return self.embedding_parameters + blocks + self.norm_parameters + self.vision_parameters

    @property
    def active_parameter_count(self) -> int:
        """Parameters of the language model that one token is multiplied with: the experts it is routed to, and the output head once."""
        routed = self._routed_parameters(self.experts.per_token if self.experts else 0)
        return self.vocab * self.hidden + self.attention_parameters + self.dense_mlp_parameters + routed + self.norm_parameters
