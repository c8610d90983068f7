"""Which operations are linear in what depends on the picture, so that no method needs a rule."""

_MOVES = """
    clone detach contiguous view view_as reshape flatten unflatten squeeze unsqueeze permute
    transpose t swapaxes movedim expand expand_as repeat repeat_interleave __getitem__ narrow select
    split chunk unbind tensor_split index_select gather cat concat concatenate stack roll flip pad
    pixel_shuffle pixel_unshuffle channel_shuffle dropout dropout1d dropout2d dropout3d
    alpha_dropout feature_alpha_dropout identity to type float double half bfloat16 type_as cpu
    cuda unfold diagonal tril triu masked_fill requires_grad requires_grad_ real imag
    view_as_real view_as_complex resolve_conj resolve_neg fft_fftshift fft_ifftshift
"""
_ADDS = """
    add sub rsub neg sum mean avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d batch_norm interpolate upsample fold cumsum
    fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2
    fft_hfft2 fft_ihfft2 fft_fftn fft_ifftn fft_rfftn fft_irfftn fft_hfftn fft_ihfftn
"""
_MULTIPLIES = """
    mul div matmul rmatmul bmm mm baddbmm addmm einsum conv1d conv2d conv3d conv_transpose1d
    conv_transpose2d conv_transpose3d linear bilinear dot mv inner outer tensordot
"""
MOVES = frozenset(_MOVES.split())
"""Operations that only move numbers about, or copy them."""
LINEAR = MOVES | frozenset(_ADDS.split())
"""Operations that are linear in what depends on the picture."""
PRODUCTS = frozenset(_MULTIPLIES.split())
"""Operations that are linear where only one factor depends on the picture, and no divisor does."""
