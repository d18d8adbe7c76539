"""Model architectures: the dimensions that decide weights, KV cache and arithmetic per token."""

from __future__ import annotations

from dataclasses import dataclass, replace

# Weight formats a checkpoint may come in; None in Architecture.checkpoint_quant means unquantised weights in `dtype`.
CHECKPOINT_QUANTS = ("awq", "fp8", "gptq", "int4", "int8", "mxfp4", "nvfp4")
# What a quantised checkpoint quantises: every linear layer of the blocks, or the routed experts only.
QUANT_SCOPES = ("experts", "linear")
# Element types of unquantised weights, with their size in bytes.
DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Experts:
    """The mixture-of-experts part.

    layers of the model's layers hold `count` routed experts of width `intermediate`, of which `per_token` work on each token, and shared
    experts of total width shared_intermediate (0: none). The other layers are dense with Architecture.intermediate.
    """

    count: int
    per_token: int
    intermediate: int
    layers: int
    shared_intermediate: int


@dataclass(frozen=True, slots=True)
class Mla:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): ranks and head widths in elements.

    Per token and layer the cache holds kv_lora_rank + qk_rope_head_dim elements, once per tensor-parallel rank.
    """

    kv_lora_rank: int
    q_lora_rank: int | None
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int


@dataclass(frozen=True, slots=True)
class Indexer:
    """What chooses the tokens that sparse attention reads (DeepSeek-V3.2): query heads, and a key per token in the cache, of head_dim."""

    heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class GlobalLayers:
    """Heads of the layers that attend to everything, where they differ from those of the sliding layers (Gemma 4)."""

    kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class PerLayerInput:
    """An embedding of its own for each layer (Gemma 4 E2B and E4B): elements per token and layer, and rows."""

    hidden: int
    vocab: int


@dataclass(frozen=True, slots=True)
class SharedKv:
    """Last layers of a model that read the cache of earlier ones and have queries only (Gemma 4 E2B and E4B).

    sliding_layers of the layers slide; with double_mlp the MLPs of all of them are twice as wide.
    """

    layers: int
    sliding_layers: int
    double_mlp: bool


@dataclass(frozen=True, slots=True)
class Encoder:
    """What makes a model an encoder (BERT): every token attends to the whole prompt, nothing is kept in a cache.

    learned_positions are the rows of its embedding of positions, 0 where positions are rotary; segments those of its token types.
    """

    learned_positions: int
    segments: int


# Kinds of layers that keep a state of fixed size per request instead of a growing cache.
RECURRENT_KINDS = ("gated_delta", "mamba2")


@dataclass(frozen=True, slots=True)
class Recurrent:
    """Layers with a recurrent state: gated delta rule (arXiv 2412.06464) or Mamba-2 (arXiv 2405.21060).

    Mamba-2 in the same words: key_heads are its groups, key_dim its state size, value_heads and value_dim its heads and their width. The
    convolution looks conv_kernel tokens back over keys, queries and values. state_dtype is the element type of the state.
    """

    kind: str
    layers: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int
    state_dtype: str

    @property
    def value_width(self) -> int:
        """Elements of all value heads."""
        return self.value_heads * self.value_dim

    @property
    def conv_width(self) -> int:
        """Elements that pass the convolution: queries, keys and values."""
        return 2 * self.key_heads * self.key_dim + self.value_width

    def parameters(self, hidden: int) -> int:
        """Projections and convolution of one layer (gate, decay and step parameters included, biases left out)."""
        # Gated delta: in_proj_qkvz and in_proj_ba; Mamba-2: in_proj of gate, xBC and dt (their modelling files in transformers)
        per_head = 2 if self.kind == "gated_delta" else 1
        inner = self.conv_width + self.value_width + per_head * self.value_heads
        return hidden * (inner + self.value_width) + self.conv_width * self.conv_kernel


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
