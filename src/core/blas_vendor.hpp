#pragma once

namespace researchkit {

/// Tells the BLAS libraries known here to compute on the calling thread.
void use_single_threaded_blas();

}  // namespace researchkit
