"""Model architectures: the dimensions that decide weights, KV cache and arithmetic per token."""

from __future__ import annotations

from dataclasses import dataclass

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
    """A decoder-only language model as its config.json describes it; widths are in elements, lengths in tokens.

    name is the Hugging Face id (or the folder of an imported config.json). dtype is what vLLM takes under `--dtype auto`. Of `layers`,
    sliding_layers keep only the last sliding_window_tokens tokens; the rest attend to everything. For MLA models kv_heads and head_dim
    describe the expanded heads (head_dim = nope + rope). quant_scope says what checkpoint_quant covers: every linear layer of the blocks
    ("linear") or the routed experts only ("experts"); embeddings always stay in dtype. vision_parameters counts the tower and projector of
    a multimodal model. gated_mlp: three matrices per MLP instead of two.

    Of `layers`, recurrent.layers keep a state instead of a cache and mlp_only_layers hold nothing but an MLP (Nemotron-H, whose other
    layers then hold none). chunked: windows are chunks (Llama 4). gated_attention: queries come with a gate of their size. The largest
    image takes image_tokens tokens and image_values pixel values; 0 means not known.

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

    @property
    def attention_layers(self) -> int:
        """Layers that keep keys and values (or latents) of the tokens."""
        return self.layers - self.mlp_only_layers - (self.recurrent.layers if self.recurrent else 0)

    @property
    def mlp_layers(self) -> int:
        """Layers with an MLP or experts."""
        return self.mlp_only_layers or self.layers

    @property
    def embedding_parameters(self) -> int:
        """Input embedding and output head, one matrix when they are tied."""
        return self.vocab * self.hidden * (1 if self.tie_embeddings else 2)

    @property
    def attention_parameters(self) -> int:
        """Projections of all attention and recurrent layers; biases are left out (below 0.1 %)."""
        attention = self.attention_layers * (self._mla_parameters(self.mla) if self.mla else self._gqa_parameters())
        return attention + (self.recurrent.layers * self.recurrent.parameters(self.hidden) if self.recurrent else 0)

    def _gqa_parameters(self) -> int:
        gates = self.heads if self.gated_attention else 0
        return self.hidden * self.head_dim * (2 * (self.heads + self.kv_heads) + gates)

    def _mla_parameters(self, mla: Mla) -> int:
        # DeepSeek-V2, arXiv 2405.04434, section 2.1: down- and up-projections of queries and of keys and values, output projection
        query_width = self.heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
        query = self.hidden * query_width if mla.q_lora_rank is None else mla.q_lora_rank * (self.hidden + query_width)
        key_value = self.hidden * (mla.kv_lora_rank + mla.qk_rope_head_dim)
        key_value += mla.kv_lora_rank * self.heads * (mla.qk_nope_head_dim + mla.v_head_dim)
        return query + key_value + self.heads * mla.v_head_dim * self.hidden

    @property
    def _mlp_matrices(self) -> int:
        return 3 if self.gated_mlp else 2

    @property
    def dense_mlp_parameters(self) -> int:
        """MLPs of the dense layers, shared experts and routers: the parts of the MLPs that every token passes."""
        if self.experts is None:
            return self.mlp_layers * self._mlp_matrices * self.hidden * self.intermediate
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
        """Two norms per layer (one where a layer is a mixer or an MLP) and the final one."""
        return ((1 if self.mlp_only_layers else 2) * self.layers + 1) * self.hidden

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
